package hsmux.canton.suite

import com.typesafe.config.ConfigFactory
import hsmux.canton.Check

import java.io.{ByteArrayOutputStream, PrintStream}
import java.nio.file.{Files, Path}
import scala.jdk.CollectionConverters._

/** The check of a node's configuration, and the example configurations. */
class CheckSuite extends DriverSpec {
  private def conf(name: String, text: String): Path = Files.writeString(Tokens.folder.resolve(name), text)
  private def node(config: String): String =
    s"""canton.participants.participant1.crypto { provider = kms, kms { type = driver, name = hsmux, config {
       |$config
       |} } }
       |canton.participants.other.crypto.provider = jce
       |""".stripMargin
  private def run(arguments: String*): (Int, String, String) = {
    val (out, err) = (new ByteArrayOutputStream, new ByteArrayOutputStream)
    val status = Check.run(arguments.toList, new PrintStream(out), new PrintStream(err))
    (status, out.toString, err.toString)
  }

  "The check" should {
    "print what each slot of a node's configuration can do" in {
      val (status, out, _) = run(conf("good.conf", node(Tokens.hocon(Seq("hsmux-0", "hsmux-1"), DriverSpec.replicated))).toString)
      withClue(out)(status shouldBe 0)
      out should include("node participant1: ok")
      out should include regex "ec-p256 +ecdsa-p256-sha256 +yes +yes +yes"
      out should include regex "aes-256 +aes-256-gcm +yes +yes +yes"
      withDriver(Tokens.hocon(Seq("hsmux-0")))(driver => refused(driver.getPublicKey("canton")(root), hsmux.Status.KEY_NOT_FOUND))
    }
    "do so for programs" in {
      val (status, out, _) = run("--json", conf("good.conf", node(Tokens.hocon(Seq("hsmux-0")))).toString)
      status shouldBe 0
      val result = ConfigFactory.parseString(out).getConfigList("nodes").asScala.head
      result.getBoolean("well") shouldBe true
      result.getStringList("specs").asScala should contain("ec-curve25519")
    }
    "say what is wrong" in {
      val (bad, out, _) = run(conf("bad.conf", node(Tokens.module() + "\nslots = [ { name = a, token-label = nowhere } ]")).toString)
      bad shouldBe 1
      out should include("node participant1: FAILED")
      out should include("nowhere")
      val (unread, text, _) = run(conf("bad.conf", node("slots = 7")).toString)
      unread shouldBe 1
      text should include("modules")
      run(conf("none.conf", "canton.participants.p {}").toString)._3 should include("no node here")
      run("--wrong", "x")._1 shouldBe 2
      run()._1 shouldBe 2
      run("/nowhere.conf")._3 should include("no such file")
      run("--help")._2 should include("exit status")
    }
    "find every example configuration readable" in {
      val folder = Path.of(sys.env("HSMUX_EXAMPLES"))
      val files = Files.list(folder).iterator.asScala.filter(_.toString.endsWith(".conf")).toSeq
      files should not be empty
      files.foreach { file =>
        // Secrets and hosts come from the environment.
        val config = ConfigFactory
          .parseFile(file.toFile)
          .withFallback(ConfigFactory.parseString("HSM_PIN = 1234, DB_HOST = h, DB_PASSWORD = p"))
          .resolve
        val nodes = for {
          kind <- Seq("participants", "sequencers", "mediators") if config.hasPath(s"canton.$kind")
          name <- config.getObject(s"canton.$kind").keySet.asScala
        } yield config.getConfig(s"canton.$kind.$name.crypto")
        withClue(file)(nodes should not be empty)
        nodes.foreach { crypto =>
          val kms = crypto.getConfig("kms")
          kms.getString("name") shouldBe "hsmux"
          withClue(file)(Tokens.factory.configReader.from(kms.getValue("config")).fold(f => fail(f.prettyPrint()), identity))
        }
      }
    }
  }
}
