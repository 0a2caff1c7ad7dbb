package hsmux.canton.suite

import com.digitalasset.canton.crypto.kms.driver.api.v1._
import hsmux.Status
import org.scalatest.BeforeAndAfterAll

import java.util.concurrent.Executors
import scala.concurrent.{ExecutionContext, ExecutionContextExecutorService, Future}
import scala.jdk.CollectionConverters._

/** What the public suites leave out, where no HSM fails. */
class EdgeSuite extends DriverSpec with BeforeAndAfterAll {
  private lazy val driver = Tokens.driver(Tokens.hocon(Seq("hsmux-0", "hsmux-1"), DriverSpec.replicated))
  private lazy val signingKey = get(driver.generateSigningKeyPair(SigningKeySpec.EcP256, Some("signing"))(root))
  private lazy val encryptionKey = get(driver.generateEncryptionKeyPair(EncryptionKeySpec.Rsa2048, None)(root))
  private lazy val symmetricKey = get(driver.generateSymmetricKey(None)(root))
  private val sha256 = SigningAlgoSpec.EcDsaSha256

  override def afterAll(): Unit = driver.close()

  "A driver" should {
    "serve 256 callers at once" in {
      implicit val callers: ExecutionContextExecutorService =
        ExecutionContext.fromExecutorService(Executors.newFixedThreadPool(256))
      val spki = get(driver.getPublicKey(signingKey)(root)).key
      val signed = Future.sequence((0 until 256).map { i =>
        Future(driver.sign(Array.fill(32)(i.toByte), signingKey, sha256)(root)).flatten.map(i -> _)
      })
      get(signed).foreach { case (i, signature) =>
        Counterparty.verifies("EcDsaSha256", spki, Array.fill(32)(i.toByte), signature) shouldBe true
      }
      callers.shutdown()
    }
    "keep thousands of futures in flight from one thread" in {
      implicit val global: ExecutionContext = ExecutionContext.global
      val all = Future.sequence((0 until 5000).map(_ => driver.encryptSymmetric(message, symmetricKey)(root)))
      get(all).map(_.toSeq).distinct should have size 5000
    }
    "take empty data and 4 KiB of it" in {
      val ids = Api.signing.map { case (keySpec, algoSpec) =>
        (keySpec, algoSpec, get(driver.generateSigningKeyPair(keySpec, None)(root)))
      }
      Seq(0, 1, 4096).foreach { size =>
        val data = Array.fill(size)(7.toByte)
        ids.foreach { case (keySpec, algoSpec, id) =>
          withClue(s"$keySpec, $size bytes: ")(verifies(driver, id, algoSpec, data) shouldBe true)
        }
        val encrypted = get(driver.encryptSymmetric(data, symmetricKey)(root))
        encrypted.length should be <= 6144
        get(driver.decryptSymmetric(encrypted, symmetricKey)(root)) shouldBe data
      }
      val most = Array.fill(190)(1.toByte)
      val spki = get(driver.getPublicKey(encryptionKey)(root)).key
      Seq(Array.emptyByteArray, most).foreach { data =>
        val encrypted = Counterparty.encrypt("RsaEsOaepSha256", spki, data)
        get(driver.decryptAsymmetric(encrypted, encryptionKey, EncryptionAlgoSpec.RsaEsOaepSha256)(root)) shouldBe data
      }
    }
    "refuse a key for what it is not made for, for good" in {
      refused(driver.sign(message, signingKey, SigningAlgoSpec.EcDsaSha384)(root), Status.INVALID_ARGUMENT)
      refused(driver.sign(message, encryptionKey, sha256)(root), Status.INVALID_ARGUMENT)
      refused(driver.sign(message, symmetricKey, sha256)(root), Status.INVALID_ARGUMENT)
      refused(driver.decryptAsymmetric(message, signingKey, EncryptionAlgoSpec.RsaEsOaepSha256)(root), Status.INVALID_ARGUMENT)
      refused(driver.encryptSymmetric(message, signingKey)(root), Status.INVALID_ARGUMENT)
      refused(driver.getPublicKey(symmetricKey)(root), Status.INVALID_ARGUMENT)
      // Signing and ECIES keys are on the same curve and differ by their purpose alone.
      Api.encryption.filter(_._1.toString == "EcP256").foreach { case (keySpec, algoSpec) =>
        val ecies = get(driver.generateEncryptionKeyPair(keySpec, None)(root))
        refused(driver.sign(message, ecies, sha256)(root), Status.INVALID_ARGUMENT)
        refused(driver.decryptAsymmetric(message, signingKey, algoSpec)(root), Status.INVALID_ARGUMENT)
        get(driver.getPublicKey(signingKey)(root)).spec shouldBe SigningKeySpec.EcP256
        get(driver.getPublicKey(ecies)(root)).spec shouldBe keySpec
      }
    }
    "not use a deleted key any more" in {
      val id = get(driver.generateSigningKeyPair(SigningKeySpec.EcP256, None)(root))
      get(driver.sign(message, id, sha256)(root))
      get(driver.deleteKey(id)(root))
      refused(driver.sign(message, id, sha256)(root), Status.KEY_NOT_FOUND)
      refused(driver.getPublicKey(id)(root), Status.KEY_NOT_FOUND)
      refused(driver.deleteKey(id)(root), Status.KEY_NOT_FOUND)
    }
    "notice that somebody else deleted a key" in {
      val id = get(driver.generateSymmetricKey(None)(root))
      get(driver.keyExistsAndIsActive(id)(root))
      withDriver(Tokens.hocon(Seq("hsmux-0", "hsmux-1")))(other => get(other.deleteKey(id)(root)))
      refused(driver.keyExistsAndIsActive(id)(root), Status.KEY_NOT_FOUND)
    }
    "refuse ids that are unknown, empty, overlong or odd" in {
      refused(driver.keyExistsAndIsActive("00" * 16)(root), Status.KEY_NOT_FOUND)
      refused(driver.keyExistsAndIsActive("cafe")(root), Status.KEY_NOT_FOUND)
      refused(driver.keyExistsAndIsActive("")(root), Status.INVALID_ARGUMENT)
      refused(driver.keyExistsAndIsActive("x" * 301)(root), Status.INVALID_ARGUMENT)
      refused(driver.keyExistsAndIsActive("a\u0000b")(root), Status.INVALID_ARGUMENT)
      refused(driver.keyExistsAndIsActive("pkcs11:nonsense=1")(root), Status.INVALID_ARGUMENT)
      refused(driver.keyExistsAndIsActive("ключ \ud83d\udd11")(root), Status.KEY_NOT_FOUND)
    }
    "tell nothing of why a ciphertext does not decrypt" in {
      val encrypted = get(driver.encryptSymmetric(message, symmetricKey)(root))
      val spki = get(driver.getPublicKey(encryptionKey)(root)).key
      val asymmetric = Counterparty.encrypt("RsaEsOaepSha256", spki, message)
      def changed(bytes: Array[Byte], at: Int) = bytes.updated(at, (bytes(at) ^ 1).toByte)
      val texts = Seq(
        refused(driver.decryptSymmetric(changed(encrypted, encrypted.length - 1), symmetricKey)(root), Status.DECRYPT_FAILED),
        refused(driver.decryptSymmetric(changed(encrypted, encrypted.length - 20), symmetricKey)(root), Status.DECRYPT_FAILED),
        refused(
          driver.decryptAsymmetric(changed(asymmetric, 100), encryptionKey, EncryptionAlgoSpec.RsaEsOaepSha256)(root),
          Status.DECRYPT_FAILED,
        ),
      ).map(_.getMessage)
      texts.distinct should have size 1
    }
    "keep keys with the same name apart" in {
      val one = get(driver.generateSigningKeyPair(SigningKeySpec.EcP256, Some("node-protocol"))(root))
      val other = get(driver.generateSigningKeyPair(SigningKeySpec.EcP256, Some("node-protocol"))(root))
      one should not be other
      get(driver.getPublicKey(one)(root)).key should not be get(driver.getPublicKey(other)(root)).key
      refused(driver.sign(message, "node-protocol", sha256)(root), Status.KEY_AMBIGUOUS).getMessage should include(one)
      verifies(driver, one, sha256, message) shouldBe true
    }
    "take every name that Canton may give" in
      withDriver(Tokens.hocon(Seq("hsmux-2"))) { one =>
        Seq("", "x" * 300, "ю" * 300, "id:00", "pkcs11:object=x", "line\nbreak", "\ud83d\udd11").foreach { name =>
          val id = get(one.generateSymmetricKey(Some(name))(root))
          get(one.deleteKey(id)(root))
        }
      }
    "give the same public key from every replica and after a restart" in {
      val spki = get(driver.getPublicKey(signingKey)(root)).key
      Seq(Seq("hsmux-0"), Seq("hsmux-1")).foreach { slots =>
        withDriver(Tokens.hocon(slots)) { other =>
          get(other.getPublicKey(signingKey)(root)).key shouldBe spki
          Counterparty.verifies("EcDsaSha256", spki, message, get(other.sign(message, signingKey, sha256)(root))) shouldBe true
        }
      }
    }
    "say retryable of overload" in
      withDriver(Tokens.hocon(Seq("hsmux-0"), "submit { in-flight-max = 3 }")) { small =>
        val id = get(small.generateEncryptionKeyPair(EncryptionKeySpec.Rsa2048, None)(root))
        val spki = get(small.getPublicKey(id)(root)).key
        val encrypted = Counterparty.encrypt("RsaEsOaepSha256", spki, message)
        val all = (0 until 200).map(_ => small.decryptAsymmetric(encrypted, id, EncryptionAlgoSpec.RsaEsOaepSha256)(root))
        val failures = all.map(future => scala.util.Try(get(future)).failed.toOption).collect { case Some(e: KmsDriverException) => e }
        failures should not be empty
        failures.foreach(_.retryable shouldBe true)
      }
    "report a spec only where its placement can hold" in {
      // Edwards keys are not wrapped by tokens: in two slots only by import.
      withDriver(Tokens.hocon(Seq("hsmux-0", "hsmux-1"))) { two =>
        two.supportedSigningKeySpecs.map(_.toString) should contain noElementsOf Seq("EcCurve25519")
        two.supportedSigningKeySpecs should contain(SigningKeySpec.EcP384)
        // Copied from slot to slot by wrapping: the same key in both.
        val id = get(two.generateSigningKeyPair(SigningKeySpec.EcP256, None)(root))
        val spki = get(two.getPublicKey(id)(root)).key
        Seq("hsmux-0", "hsmux-1").foreach { slot =>
          withDriver(Tokens.hocon(Seq(slot)))(other => get(other.getPublicKey(id)(root)).key shouldBe spki)
        }
      }
      withDriver(Tokens.hocon(Seq("hsmux-0", "hsmux-1"), "placement { default = [ hsmux-1 ] }")) { placed =>
        placed.supportedSigningKeySpecs shouldBe Api.signing.map(_._1).toSet
        val id = get(placed.generateSigningKeyPair(SigningKeySpec.EcP256, None)(root))
        withDriver(Tokens.hocon(Seq("hsmux-0")))(other => refused(other.getPublicKey(id)(root), Status.KEY_NOT_FOUND))
        withDriver(Tokens.hocon(Seq("hsmux-1")))(other => get(other.getPublicKey(id)(root)).spec shouldBe SigningKeySpec.EcP256)
      }
      withDriver(Tokens.hocon(Seq("hsmux-0"), "specs = [ ec-p384, rsa-2048 ]")) { named =>
        named.supportedSigningKeySpecs shouldBe Set(SigningKeySpec.EcP384)
        named.supportedEncryptionKeySpecs shouldBe Set(EncryptionKeySpec.Rsa2048)
      }
    }
    "work beside SunPKCS11 on the same module" in {
      val file = java.nio.file.Files.writeString(
        Tokens.folder.resolve("sun.cfg"),
        s"name = sun\nlibrary = ${Tokens.softhsmPath}\nslotListIndex = 0\n",
      )
      val sun = java.security.Security.getProvider("SunPKCS11").configure(file.toString)
      val token = java.security.KeyStore.getInstance("PKCS11", sun)
      val pins = Tokens.labels.map(Tokens.pin)
      // Slots come in SoftHSM's order: the first PIN that fits is the token's, as SoftHSM does not lock.
      pins.exists(pin => scala.util.Try(token.load(null, pin.toCharArray)).isSuccess) shouldBe true
      token.aliases.asScala.toSeq
      verifies(driver, signingKey, sha256, message) shouldBe true
    }
  }
}
