package hsmux.canton.suite

import com.digitalasset.canton.crypto.kms.driver.api.v1._
import hsmux.{HsmuxException, Status}
import io.opentelemetry.context.Context
import org.scalatest.matchers.should.Matchers
import org.scalatest.wordspec.AnyWordSpec

import java.nio.charset.StandardCharsets.UTF_8
import scala.concurrent.duration.DurationInt
import scala.concurrent.{Await, Future}

/** What the suites share. */
abstract class DriverSpec extends AnyWordSpec with Matchers {
  protected val root: Context = Context.root
  protected val message: Array[Byte] = "test".getBytes(UTF_8)

  protected def get[A](future: Future[A]): A = Await.result(future, 60.seconds)

  protected def failure(future: Future[_]): KmsDriverException =
    intercept[KmsDriverException](Await.result(future, 60.seconds))

  /** It fails for good, for this reason. */
  protected def refused(future: Future[_], status: Status): HsmuxException = {
    val failed = failure(future)
    val cause = failed.exception.asInstanceOf[HsmuxException]
    withClue(cause.getMessage) {
      cause.status shouldBe status
      failed.retryable shouldBe false
    }
    cause
  }

  protected def withDriver[A](hocon: String)(work: KmsDriver => A): A = {
    val driver = Tokens.driver(hocon)
    try work(driver)
    finally driver.close()
  }

  /** Waits for a condition that others bring about. */
  protected def eventually(what: String)(condition: => Boolean): Unit = {
    val end = 30.seconds.fromNow
    while (!condition) {
      if (end.isOverdue()) fail(s"not within 30 s: $what")
      Thread.sleep(10)
    }
  }

  protected def verifies(driver: KmsDriver, id: String, algorithm: SigningAlgoSpec, data: Array[Byte]): Boolean =
    Counterparty.verifies(
      algorithm.toString,
      get(driver.getPublicKey(id)(root)).key,
      data,
      get(driver.sign(data, id, algorithm)(root)),
    )
}

object DriverSpec {
  // Keys of 3072 bits for each run of replication take most of the time.
  val replicated: String = "development-software-keys = true, keys { transport-bits = 2048 }"
}
