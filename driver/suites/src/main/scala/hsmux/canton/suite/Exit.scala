package hsmux.canton.suite

import com.digitalasset.canton.crypto.kms.driver.api.v1._
import io.opentelemetry.context.Context

import scala.concurrent.duration.DurationInt
import scala.concurrent.{Await, ExecutionContext}

/** A JVM that ends while its driver works: for LifeSuite. */
object Exit {
  def main(arguments: Array[String]): Unit = {
    implicit val global: ExecutionContext = ExecutionContext.global
    val driver = Tokens.driver(Tokens.hocon(Seq("hsmux-0"), "specs = [ ec-p256 ]"))
    val id = Await.result(driver.generateSigningKeyPair(SigningKeySpec.EcP256, None)(Context.root), 60.seconds)
    def again(): Unit =
      driver.sign(Array.emptyByteArray, id, SigningAlgoSpec.EcDsaSha256)(Context.root).onComplete(_ => again())
    (1 to 64).foreach(_ => again())
    Thread.sleep(300)
    if (arguments.contains("exit")) sys.exit(0) // else main returns: no thread of the engine may keep the JVM
  }
}
