package hsmux.canton.suite

import com.digitalasset.canton.crypto.kms.driver.api.v1._
import hsmux.{HsmuxException, Status}
import org.scalatest.BeforeAndAfterEach

import java.nio.file.Files
import java.nio.file.attribute.PosixFilePermissions

import scala.concurrent.{ExecutionContext, Future}
import scala.util.{Failure, Success, Try}

/** HSMs that hang, go and come back. */
class FailureSuite extends DriverSpec with BeforeAndAfterEach {
  private implicit val global: ExecutionContext = ExecutionContext.global
  private val sha256 = SigningAlgoSpec.EcDsaSha256
  private val deadlines = "deadlines { operation = 400ms }"

  override def afterEach(): Unit = {
    Simulator.reset()
    Simulator.release()
  }

  private def newKey(driver: KmsDriver): String =
    get(driver.generateSigningKeyPair(SigningKeySpec.EcP256, None)(root))
  private def status(failure: Throwable): Status = failure match {
    case KmsDriverException(cause: HsmuxException, _) => cause.status
    case other => throw other
  }
  private def health(driver: KmsDriver): String = get(driver.health).toString.takeWhile(_ != '(')

  "A driver" should {
    "keep its deadline while a module hangs, and say retryable" in
      withDriver(Simulator.hocon(Seq("sim-0"), deadlines)) { driver =>
        val id = newKey(driver)
        get(driver.sign(message, id, sha256)(root))
        Simulator.apply("[[fault]]\nfunction = 'C_Sign'\naction = 'hang'\ntimes = 1\nskip = 0")
        val failed = failure(driver.sign(message, id, sha256)(root))
        status(failed) shouldBe Status.TIMEOUT
        failed.retryable shouldBe true
        verifies(driver, id, sha256, message) shouldBe true
        Simulator.release()
      }
    "fail no future while one of two HSMs dies under load and comes back" in
      withDriver(Simulator.hocon()) { driver =>
        val id = newKey(driver)
        val spki = get(driver.getPublicKey(id)(root)).key
        def burst = (0 until 100).map(_ => driver.sign(message, id, sha256)(root))
        val before = burst
        Simulator.play("remove-token", "sim-0")
        val during = Seq.fill(5)(burst).flatten
        get(Future.sequence(before ++ during)).foreach { signature =>
          Counterparty.verifies("EcDsaSha256", spki, message, signature) shouldBe true
        }
        eventually("degraded health")(health(driver) == "Degraded")
        Simulator.play("insert-token", "sim-0")
        eventually("health is back")(health(driver) == "Ok")
        verifies(driver, id, sha256, message) shouldBe true
      }
    "say that it failed while all HSMs are away, retryable, and recover" in
      withDriver(Simulator.hocon(extra = deadlines)) { driver =>
        val id = newKey(driver)
        Seq("sim-0", "sim-1").foreach(Simulator.play("remove-token", _))
        def signing: Try[Array[Byte]] = Try(get(driver.sign(message, id, sha256)(root)))
        signing match {
          case Failure(KmsDriverException(cause: HsmuxException, retryable)) =>
            withClue(cause.getMessage)(retryable shouldBe true)
            Set(Status.UNAVAILABLE, Status.TIMEOUT, Status.DEVICE) should contain(cause.status)
          case other => fail(s"$other")
        }
        eventually("failed health")(health(driver) == "Failed")
        val specs = driver.supportedSigningKeySpecs
        specs shouldBe Api.signing.map(_._1).toSet
        Seq("sim-0", "sim-1").foreach(Simulator.play("insert-token", _))
        eventually("it signs again")(signing.isSuccess)
        eventually("health is back")(health(driver) == "Ok")
      }
    "start with one of two HSMs when that is enough, and else not" in {
      withDriver(Simulator.hocon())(_ => ()) // the simulator is loaded
      Simulator.play("remove-token", "sim-1")
      withDriver(Simulator.hocon(extra = "min-slots-at-start = 1, connect-timeout = 2s, placement = [ sim-0 ]")) { driver =>
        health(driver) shouldBe "Degraded"
        verifies(driver, newKey(driver), sha256, message) shouldBe true
        Simulator.play("insert-token", "sim-1")
        eventually("the other joins")(health(driver) == "Ok")
      }
      Simulator.play("remove-token", "sim-1")
      val failed = intercept[KmsDriverException](Tokens.driver(Simulator.hocon(extra = "min-slots-at-start = 2, connect-timeout = 1s")))
      failed.retryable shouldBe true
      failed.getMessage should include("sim-1")
      Simulator.play("insert-token", "sim-1")
    }
    "not try a wrong PIN twice, and be failed but not fatal" in {
      val wrong = s"""modules { sim { path = "${sys.env("HSMUX_SIMHSM")}" } }
                     |slots = [ { name = a, token-label = sim-1, pin { value = "9999" } } ]""".stripMargin
      val failed = intercept[KmsDriverException](Tokens.driver(wrong))
      status(failed) shouldBe Status.CREDENTIALS
      failed.retryable shouldBe false
      failed.getMessage should not include "9999"
    }
    "be failed and not fatal when a PIN is refused while it runs, for good" in {
      val pin = Files.writeString(Tokens.folder.resolve("sim.pin"), "1234")
      Files.setPosixFilePermissions(pin, PosixFilePermissions.fromString("rw-------"))
      withDriver(s"""modules { sim { path = "${sys.env("HSMUX_SIMHSM")}" } }
                    |slots = [ { name = a, token-label = sim-2, session-copies = off, pin { file = "$pin" } } ]
                    |$deadlines""".stripMargin) { driver =>
        val id = newKey(driver)
        verifies(driver, id, sha256, message) shouldBe true
        Files.writeString(pin, "9876")
        Simulator.play("lose-sessions", "sim-2")
        eventually("health is failed")(Try(get(driver.sign(message, id, sha256)(root))).isFailure && health(driver) == "Failed")
        val reason = get(driver.health).toString
        reason should include("latched")
        reason should not include "9876"
        val failed = failure(driver.sign(message, id, sha256)(root))
        withClue(failed.getMessage)(failed.retryable shouldBe false)
      }
    }
    "fail what is in flight when it is closed, and close twice" in {
      val driver = Tokens.driver(Simulator.hocon(Seq("sim-0"), "close-timeout = 300ms"))
      val id = newKey(driver)
      get(driver.sign(message, id, sha256)(root))
      Simulator.apply("[[fault]]\nfunction = 'C_Sign'\naction = 'delay'\ntime_us = 100000\ntimes = 0")
      val all = (0 until 500).map(_ => driver.sign(message, id, sha256)(root))
      driver.close()
      driver.close()
      val ended = all.map(future => Try(get(future)))
      ended.foreach {
        case Success(_) =>
        case Failure(cause) =>
          status(cause) shouldBe Status.CLOSED
          cause.asInstanceOf[KmsDriverException].retryable shouldBe false
      }
      ended.count(_.isFailure) should be > 0
      refused(driver.sign(message, id, sha256)(root), Status.CLOSED)
      health(driver) shouldBe "Failed"
    }
  }
}
