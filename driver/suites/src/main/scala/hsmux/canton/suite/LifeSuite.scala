package hsmux.canton.suite

import com.digitalasset.canton.crypto.kms.driver.api.v1._

import java.nio.file.{Files, Path}
import java.util.concurrent.TimeUnit
import scala.concurrent.{Await, ExecutionContext, Future}
import scala.concurrent.duration.DurationInt

/** Drivers that come and go in one JVM. */
class LifeSuite extends DriverSpec {
  private implicit val global: ExecutionContext = ExecutionContext.global
  private def count(folder: String): Int = Path.of(folder).toFile.list.length
  private def residentMiB: Long = Files.readString(Path.of("/proc/self/statm")).split(' ')(1).toLong * 4 / 1024

  "Ten drivers opened and closed a hundred times" should {
    "leave no thread, file descriptor, memory or session behind" in {
      val hocon = Simulator.hocon(Seq("sim-0"), "specs = [ ec-p256 ]")
      val key = withDriver(hocon)(driver => get(driver.generateSigningKeyPair(SigningKeySpec.EcP256, None)(root)))
      def round(): Unit = {
        val drivers = Await.result(Future.sequence((0 until 10).map(_ => Future(Tokens.driver(hocon)))), 60.seconds)
        val signed = drivers.map(_.sign(message, key, SigningAlgoSpec.EcDsaSha256)(root))
        signed.foreach(get(_))
        drivers.foreach(_.close())
      }
      (1 to 20).foreach(_ => round())
      System.gc()
      val (threads, descriptors, memory) = (count("/proc/self/task"), count("/proc/self/fd"), residentMiB)
      (1 to 80).foreach(_ => round())
      System.gc()
      info(s"threads $threads, then ${count("/proc/self/task")}; descriptors $descriptors, then ${count("/proc/self/fd")}; " +
        s"$memory MiB, then $residentMiB MiB; sessions ${Simulator.sessions("sim-0")}")
      eventually("the threads are gone")(count("/proc/self/task") <= threads + 4)
      eventually("the descriptors are gone")(count("/proc/self/fd") <= descriptors + 4)
      residentMiB should be <= memory + 64
      Simulator.sessions("sim-0") shouldBe 0
    }
  }

  "A JVM that nobody told the driver of" should {
    Seq("exit", "return").foreach { how =>
      s"end well while requests are in flight: $how" in {
        val java = Path.of(System.getProperty("java.home"), "bin", "java").toString
        (1 to 3).foreach { _ =>
          val log = Files.createTempFile(Tokens.folder, "exit", ".log")
          val process = new ProcessBuilder(java, "-cp", System.getProperty("java.class.path"), "hsmux.canton.suite.Exit", how)
            .redirectErrorStream(true)
            .redirectOutput(log.toFile)
            .start()
          process.waitFor(60, TimeUnit.SECONDS) shouldBe true
          withClue(Files.readString(log))(process.exitValue shouldBe 0)
        }
      }
    }
  }
}
