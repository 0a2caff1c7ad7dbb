package hsmux.canton.suite

import ch.qos.logback.classic.spi.ILoggingEvent
import ch.qos.logback.classic.{Level, Logger, LoggerContext}
import ch.qos.logback.core.read.ListAppender
import com.digitalasset.canton.crypto.kms.driver.api.v1._
import hsmux.Status
import io.opentelemetry.api.GlobalOpenTelemetry
import io.opentelemetry.context.Context
import io.opentelemetry.sdk.OpenTelemetrySdk
import io.opentelemetry.sdk.testing.exporter.InMemorySpanExporter
import io.opentelemetry.sdk.trace.SdkTracerProvider
import io.opentelemetry.sdk.trace.data.SpanData
import io.opentelemetry.sdk.trace.`export`.SimpleSpanProcessor

import scala.jdk.CollectionConverters._

/** Logs, audit and spans. */
class ObserverSuite extends DriverSpec {
  private val pin = Tokens.pin("hsmux-0")
  private val text = "t0p-s3cret-message".getBytes
  private val hocon = Tokens.module() + s"""
    |slots = [ { name = hsm-a, token-label = hsmux-0, pin { value = "$pin" } } ]
    |slow-operation = 1ms
    |""".stripMargin

  /** What a driver logs, by the loggers that it is given. */
  private def logged(hocon: String)(work: KmsDriver => Unit): Seq[String] = {
    val context = new LoggerContext
    val appender = new ListAppender[ILoggingEvent]
    appender.start()
    val logger: Logger = context.getLogger("driver")
    logger.setLevel(Level.DEBUG)
    logger.addAppender(appender)
    val driver = Tokens.driver(hocon, loggers = _ => logger)
    work(driver)
    driver.close()
    appender.list.synchronized(appender.list.asScala.map(event => s"${event.getLevel} ${event.getFormattedMessage}").toSeq)
  }

  private def everything(driver: KmsDriver)(context: Context): Unit = {
    val signing = get(driver.generateSigningKeyPair(SigningKeySpec.EcP256, Some("name"))(context))
    get(driver.sign(text, signing, SigningAlgoSpec.EcDsaSha256)(context))
    val symmetric = get(driver.generateSymmetricKey(None)(context))
    get(driver.decryptSymmetric(get(driver.encryptSymmetric(text, symmetric)(context)), symmetric)(context)) shouldBe text
    refused(driver.sign(text, "no\nsuch key", SigningAlgoSpec.EcDsaSha256)(context), Status.KEY_NOT_FOUND)
    ()
  }

  "A driver" should {
    "write an audit log by request, without data, when it is told to" in {
      val lines = logged(s"$hocon, audit-log = true")(everything(_)(root))
      lines.filter(_.contains("Request 2:")).exists(_.matches("INFO Request 2: sign, key [0-9a-f]{32}, EcDsaSha256, 18 bytes")) shouldBe true
      lines.exists(_.matches("INFO Request 2: sign done in [0-9]+ us")) shouldBe true
      lines.exists(_.matches("INFO Request 6: sign failed after [0-9]+ us: .*")) shouldBe true
      lines.foreach { line =>
        line should not include pin
        line should not include "t0p-s3cret"
        line should not include "\n"
      }
      logged(hocon)(everything(_)(root)).filter(_.contains(": sign done")) shouldBe empty
    }
    "make spans under the given context, without data, and name the trace in its log" in {
      val exporter = InMemorySpanExporter.create()
      val provider = SdkTracerProvider.builder.addSpanProcessor(SimpleSpanProcessor.create(exporter)).build
      // The driver has been used without tracing before: that must not have fixed the process to none.
      GlobalOpenTelemetry.set(OpenTelemetrySdk.builder.setTracerProvider(provider).build)
      val parent = provider.get("canton").spanBuilder("transaction").startSpan()
      val lines = logged(hocon)(everything(_)(Context.root.`with`(parent)))
      parent.end()
      val spans = exporter.getFinishedSpanItems.asScala.toSeq.filter(_.getName.startsWith("hsmux "))
      spans.map(_.getName) shouldBe Seq(
        "hsmux generate-key",
        "hsmux sign",
        "hsmux generate-key",
        "hsmux encrypt-symmetric",
        "hsmux decrypt-symmetric",
        "hsmux sign",
      )
      spans.foreach { span =>
        span.getParentSpanId shouldBe parent.getSpanContext.getSpanId
        span.toString should not include pin
        span.toString should not include "t0p-s3cret"
      }
      def attributes(span: SpanData) = span.getAttributes.asMap.asScala.map { case (key, value) => key.getKey -> value.toString }
      val signed = attributes(spans(1))
      signed("hsmux.operation") shouldBe "sign"
      signed("hsmux.algorithm") shouldBe "EcDsaSha256"
      signed("hsmux.slot") shouldBe "hsm-a"
      signed("hsmux.attempts") shouldBe "1"
      signed.keySet should contain("hsmux.waiting_us")
      spans.last.getStatus.getDescription shouldBe "key-not-found"
      val trace = s"[trace ${parent.getSpanContext.getTraceId}]"
      lines.exists(line => line.contains("sign failed") && line.contains(trace)) shouldBe true
      lines.exists(line => line.contains("generate-key took") && line.contains(trace)) shouldBe true
    }
  }
}
