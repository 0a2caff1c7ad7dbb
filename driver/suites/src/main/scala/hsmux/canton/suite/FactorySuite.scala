package hsmux.canton.suite

import com.digitalasset.canton.crypto.kms.driver.api
import com.digitalasset.canton.crypto.kms.driver.api.v1.KmsDriverHealth
import com.typesafe.config.ConfigRenderOptions
import org.slf4j.LoggerFactory
import pureconfig.ConfigReader.Result

import java.nio.file.{Files, Path}
import java.util.ServiceLoader
import scala.concurrent.ExecutionContext
import scala.jdk.CollectionConverters._

class FactorySuite extends DriverSpec {
  private val factory = Tokens.factory
  private val direct = new ExecutionContext {
    override def execute(runnable: Runnable): Unit = runnable.run()
    override def reportFailure(cause: Throwable): Unit = throw cause
  }
  private val one = Tokens.hocon(Seq("hsmux-0"))
  private val secret = "s3cr3t-p1n"

  private val everything =
    s"""
       |modules { softhsm { path = "p11.so", environment { A = "top-secret-a", B = "b" }, init-args = "top-secret-i", locks = os, init-timeout = 5s } }
       |slots = [
       |  { name = a, module = softhsm, token-label = t, serial = "01", slot-id = 7, pin { value = "$secret" }, allow-pin-count-low = true,
       |    sessions-min = 2, sessions-max = 8, concurrency-min = 1, concurrency-max = 4, weight = 2.5, session-copies = off, read-write = false }
       |  { name = b, uri = "pkcs11:token=b", pin { env = "B_PIN" } }
       |  { name = c, serial = "03", pin { file = "/run/pin", allow-group-read = true } }
       |]
       |deadlines { operation = 3s, key-generation = 1 minute }
       |submit { in-flight-max = 500, attempt-limit = 70ms }
       |keys { policy = trusted-wrap, trusted-key = wrapper, transport-bits = 2048 }
       |development-software-keys = true
       |specs = [ ec-p256, rsa-2048 ]
       |symmetric-key = aes-128
       |placement { default { quorum = 2 }, ec-p256 = [ a, b ], rsa-2048 = all }
       |min-slots-at-start = 2
       |connect-timeout = 4s
       |close-timeout = 250ms
       |audit-log = true
       |slow-operation = 30ms
       |""".stripMargin

  private def read(hocon: String): Result[factory.ConfigType] = factory.configReader.from(Tokens.value(hocon))
  private def right(hocon: String): factory.ConfigType = read(hocon).fold(f => fail(f.prettyPrint()), identity)
  private def wrong(hocon: String): String = read(hocon).fold(_.prettyPrint(), config => fail(s"accepted as $config"))

  "The factory" should {
    "be found under both service types" in {
      factory.name shouldBe "hsmux"
      factory.version shouldBe 1
      factory.buildInfo shouldBe Some("0.1.0")
      ServiceLoader.load(classOf[api.KmsDriverFactory]).asScala.map(_.name) should contain("hsmux")
    }
    "make a driver that becomes healthy, on a direct execution context" in {
      val driver = factory.create(right(one), LoggerFactory.getLogger(_: Class[_]), direct)
      get(driver.health) shouldBe KmsDriverHealth.Ok
      driver.close()
    }
    "read what it wrote" in {
      Seq(one, everything, "config-file = /etc/hsmux.toml", "config-file = x, placement = [a]").foreach { text =>
        val config = right(text)
        factory.configReader.from(factory.configWriter(confidential = false).to(config)) shouldBe Right(config)
      }
    }
    "leave out all secrets of the confidential form" in {
      val config = right(everything)
      val written = factory.configWriter(confidential = true).to(config).render(ConfigRenderOptions.defaults)
      Seq(secret, "top-secret").foreach { word =>
        written should not include word
        config.toString.linesIterator.filter(_ => word == secret).mkString should not include word
      }
      written should include("****")
      written should include("/run/pin")
    }
    "say where a configuration is wrong, and never a PIN" in {
      wrong(one + "\nslot = []") should include("slot")
      wrong("slots = []") should include("modules")
      wrong(Tokens.module() + "\nslots = [ { name = a } ]") should include("token-label")
      wrong(Tokens.module() + "\nslots = [ { name = a, token-label = x, sessions-max = 0 } ]") should include("1 to 4096")
      wrong(Tokens.module() + "\nslots = [ { name = a, token-label = x, modul = y } ]") should include("modul")
      wrong(Tokens.module() + s"\nslots = [ { name = a, token-label = x, pin = $secret } ]") should not include secret
      wrong(Tokens.module() + s"\nslots = [ { name = a, token-label = x, pin { value = [$secret] } } ]") should not include secret
      wrong(Tokens.module() + s"\nslots = [ { name = a, token-label = x, pin { value = $secret, env = X } } ]") should not include secret
      wrong(one + "\nspecs = [ ec-p521 ]") should include("ec-p256, ec-p384, ec-secp256k1, ec-curve25519, rsa-2048, ecies-p256")
      wrong(one + "\nplacement { ec-p256 = [ nowhere ] }") should include("there is no slot 'nowhere'")
      wrong(one + "\nplacement { quorum = 2 }") should include("quorum 2")
      wrong(one + "\nplacement = some") should include("quorum")
      wrong(one + "\nmin-slots-at-start = 2") should include("there are 1 slots")
      wrong(one + "\nconfig-file = x") should include("config-file")
      wrong(one + "\nmetrics { address = \"127.0.0.1:9464\" }") should include("does not offer it yet")
      wrong(one + "\nadmin { socket = x }") should include("does not offer it yet")
    }
    "refuse to create what the engine refuses, in the configuration's words" in {
      val failed = intercept[Exception](Tokens.driver(Tokens.module("/nowhere/p11.so") + s"\nslots = [ ${Tokens.slot("hsmux-0")} ]"))
      failed.getMessage should include("/nowhere/p11.so")
      val other = Files.copy(Path.of(Tokens.softhsmPath), Tokens.folder.resolve("other.so"))
      val environment = intercept[Exception](
        Tokens.driver(s"""modules { softhsm { path = "$other", environment { SOFTHSM2_CONF = "/elsewhere" } } }
             |slots = [ ${Tokens.slot("hsmux-0")} ]""".stripMargin)
      )
      environment.getMessage should include("SOFTHSM2_CONF")
    }
    "take a PIN from the node's configuration" in
      withDriver(Tokens.module() + s"""
           |slots = [ { name = a, token-label = hsmux-1, pin { value = "${Tokens.pin("hsmux-1")}" } } ]""".stripMargin) { driver =>
        get(driver.health) shouldBe KmsDriverHealth.Ok
      }
    "read the engine's own file" in
      withDriver(s"config-file = \"${Tokens.folder.resolve("hsmux.toml")}\"") { driver =>
        val id = get(driver.generateSymmetricKey(Some("from-file"))(root))
        get(driver.decryptSymmetric(get(driver.encryptSymmetric(message, id)(root)), id)(root)) shouldBe message
      }
  }
}
