package hsmux.canton.suite

import com.digitalasset.canton.crypto.kms.driver.api.v1._
import hsmux.Status
import org.scalatest.BeforeAndAfterAll

/** The cases of Canton's public suites for a driver, with keys that the driver makes and with keys that are there
  * before, on two replicas.
  */
class ContractSuite extends DriverSpec with BeforeAndAfterAll {
  private lazy val driver = Tokens.driver(Tokens.hocon(Seq("hsmux-0", "hsmux-1"), DriverSpec.replicated))

  override def afterAll(): Unit = driver.close()

  private def aDriver(source: String, signingKey: SigningKeySpec => String, encryptionKey: EncryptionKeySpec => String, symmetricKey: => String): Unit = {
    Api.signing.foreach { case (keySpec, algoSpec) =>
      s"sign with $keySpec and $algoSpec and $source" in {
        val id = signingKey(keySpec)
        get(driver.getPublicKey(id)(root)).spec shouldBe keySpec
        verifies(driver, id, algoSpec, message) shouldBe true
      }
    }
    Api.encryption.foreach { case (keySpec, algoSpec) =>
      s"decrypt with $keySpec and $algoSpec and $source" in {
        val id = encryptionKey(keySpec)
        val public = get(driver.getPublicKey(id)(root))
        public.spec shouldBe keySpec
        val encrypted = Counterparty.encrypt(algoSpec.toString, public.key, message)
        get(driver.decryptAsymmetric(encrypted, id, algoSpec)(root)) shouldBe message
      }
    }
    s"encrypt and decrypt symmetrically with $source" in {
      val id = symmetricKey
      val encrypted = get(driver.encryptSymmetric(message, id)(root))
      get(driver.decryptSymmetric(encrypted, id)(root)) shouldBe message
      get(driver.encryptSymmetric(message, id)(root)) should not be encrypted
    }
  }

  "A driver" should {
    "be healthy" in { get(driver.health) shouldBe KmsDriverHealth.Ok }
    "report every spec of the API that runs" in {
      driver.supportedSigningKeySpecs shouldBe Api.signing.map(_._1).toSet
      driver.supportedSigningAlgoSpecs shouldBe Api.signing.map(_._2).toSet
      driver.supportedEncryptionKeySpecs shouldBe Api.encryption.map(_._1).toSet
      driver.supportedEncryptionAlgoSpecs shouldBe Api.encryption.map(_._2).toSet
    }

    def madeAndDeleted(id: String): Unit = {
      id should fullyMatch regex "[0-9a-f]{32}"
      get(driver.keyExistsAndIsActive(id)(root))
      get(driver.deleteKey(id)(root))
      refused(driver.keyExistsAndIsActive(id)(root), Status.KEY_NOT_FOUND)
      ()
    }
    Api.signing.map(_._1).distinct.foreach { spec =>
      s"generate and delete a signing key of $spec" in
        madeAndDeleted(get(driver.generateSigningKeyPair(spec, None)(root)))
    }
    Api.encryption.map(_._1).distinct.foreach { spec =>
      s"generate and delete an encryption key of $spec" in
        madeAndDeleted(get(driver.generateEncryptionKeyPair(spec, None)(root)))
    }
    "generate and delete a symmetric key" in madeAndDeleted(get(driver.generateSymmetricKey(None)(root)))
    "refuse to sign with an unknown key" in {
      refused(driver.sign(message, "invalid", SigningAlgoSpec.EcDsaSha256)(root), Status.KEY_NOT_FOUND)
    }

    behave like aDriver(
      "a generated key",
      spec => get(driver.generateSigningKeyPair(spec, Some("node-namespace"))(root)),
      spec => get(driver.generateEncryptionKeyPair(spec, Some("node-encryption"))(root)),
      get(driver.generateSymmetricKey(None)(root)),
    )
    behave like aDriver(
      "a key named by its label",
      spec => { get(driver.generateSigningKeyPair(spec, Some(s"label-$spec"))(root)); s"label-$spec" },
      spec => { get(driver.generateEncryptionKeyPair(spec, Some(s"secret-$spec"))(root)); s"secret-$spec" },
      { get(driver.generateSymmetricKey(Some("label-aes"))(root)); "pkcs11:object=label-aes" },
    )
  }
}
