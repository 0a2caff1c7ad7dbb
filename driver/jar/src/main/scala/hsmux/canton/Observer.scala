package hsmux.canton

import com.digitalasset.canton.crypto.kms.driver.api.v1.KmsDriverException
import hsmux.Request
import io.opentelemetry.api.GlobalOpenTelemetry
import io.opentelemetry.api.common.AttributeKey
import io.opentelemetry.api.trace.{Span, SpanKind, StatusCode}
import io.opentelemetry.context.Context
import org.slf4j.Logger

import java.util.concurrent.atomic.AtomicLong
import scala.concurrent.duration.{DurationLong, FiniteDuration}

/** What is told of each request: the audit log (at INFO, by request number, without data), a span under Canton's own,
  * and a line for what was slow or failed. Any thread.
  */
private[canton] final class Observer(config: DriverConfig, logger: Logger, slots: Seq[String]) {
  private val last = new AtomicLong()

  def begin(operation: String, keyId: Option[String], algorithm: String, bytes: Int, context: Context): Observation = {
    val number = last.incrementAndGet()
    if (config.auditLog && logger.isInfoEnabled) {
      val key = keyId.fold("")(id => s", key ${Observer.shown(id)}")
      val with_ = if (algorithm.isEmpty) "" else s", $algorithm"
      val size = if (bytes == 0) "" else s", $bytes bytes"
      logger.info(s"Request $number: $operation$key${with_}$size")
    }
    new Observation(number, operation, Observer.span(operation, algorithm, context), System.nanoTime)
  }

  final class Observation(number: Long, operation: String, span: Option[Span], begun: Long) {
    @volatile private var request: Option[Request[_]] = None

    /** The request to the engine that this one comes to; the last one counts. */
    def of[A](asked: Request[A]): Request[A] = {
      if (span.nonEmpty) request = Some(asked)
      asked
    }

    private def endSpan(): Unit = span.foreach { span =>
      request.map(_.story).filter(_.attempts > 0).foreach { story =>
        slots.lift(story.slot).foreach(span.setAttribute(Observer.Slot, _))
        span.setAttribute(Observer.Attempts, Long.box(story.attempts.toLong))
        span.setAttribute(Observer.Waiting, Long.box(story.waitedNanos / 1000))
      }
      span.end()
    }

    def succeeded(): Unit = {
      val took = (System.nanoTime - begun).nanos
      endSpan()
      if (took >= config.slowOperation) logger.warn(s"Request $number: $operation took ${took.toMillis} ms$trace")
      audit(s"done in ${Observer.micros(took)} us")
    }

    def failed(failure: KmsDriverException): Unit = {
      val took = (System.nanoTime - begun).nanos
      val text = Observer.oneLine(failure.exception.getMessage)
      span.foreach(_.setStatus(StatusCode.ERROR, Failures.status(failure).text))
      endSpan()
      val retry = if (failure.retryable) ", retryable" else ""
      logger.info(s"Request $number: $operation failed after ${Observer.micros(took)} us$retry: $text$trace")
    }

    private def audit(what: => String): Unit =
      if (config.auditLog && logger.isInfoEnabled) logger.info(s"Request $number: $operation $what")

    private def trace: String = span.map(_.getSpanContext).filter(_.isValid).fold("")(context => s" [trace ${context.getTraceId}]")
  }
}

private[canton] object Observer {
  private val Slot = AttributeKey.stringKey("hsmux.slot")
  private val Attempts = AttributeKey.longKey("hsmux.attempts")
  private val Waiting = AttributeKey.longKey("hsmux.waiting_us")
  private val Operation = AttributeKey.stringKey("hsmux.operation")
  private val Algorithm = AttributeKey.stringKey("hsmux.algorithm")

  private def micros(duration: FiniteDuration): Long = duration.toMicros

  // Ids come from callers, also in messages: no line breaks, not without end.
  private def oneLine(text: String): String = text.map(c => if (c < ' ' || c == '\u007f') '?' else c)
  private def shown(keyId: String): String =
    if (keyId.length > KeyNames.LongestId) s"${oneLine(keyId.take(KeyNames.LongestId))}..." else oneLine(keyId)

  /** None where Canton traces nothing. The global OpenTelemetry is not asked before a span of the host's exists: asking
    * earlier would fix it to none for the whole process.
    */
  private def span(operation: String, algorithm: String, context: Context): Option[Span] =
    if (context == null || !Span.fromContext(context).getSpanContext.isValid) None
    else
      Some(
        GlobalOpenTelemetry
          .getTracer("hsmux")
          .spanBuilder(s"hsmux $operation")
          .setParent(context)
          .setSpanKind(SpanKind.CLIENT)
          .setAttribute(Operation, operation)
          .setAttribute(Algorithm, algorithm)
          .startSpan()
      )
}
