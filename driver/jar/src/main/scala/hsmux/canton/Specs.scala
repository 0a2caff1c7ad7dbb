package hsmux.canton

import com.digitalasset.canton.crypto.kms.driver.api.v1.{
  EncryptionAlgoSpec,
  EncryptionKeySpec,
  KeySpec,
  SigningAlgoSpec,
  SigningKeySpec,
}

import scala.util.control.NonFatal

/** One kind of key that the KMS driver API knows, and what hsmux does with it: rows of data.
  *
  * @param name
  *   in the driver's configuration (`specs`, `placement`)
  * @param algorithm
  *   hsmux's name (docs/algorithms.md)
  * @param keyKind
  *   of the key in the token
  */
private[canton] sealed abstract class Spec(
    val name: String,
    val algorithm: String,
    val keyKind: String,
    val bits: Int,
) {
  val algorithmName: Array[Byte] = hsmux.Engine.name(algorithm)

  def fits(key: hsmux.KeyInfo): Boolean = key.kind == keyKind && (bits == 0 || bits == key.bits)

  /** None: the Canton that runs does not know it. */
  def keySpec: Option[KeySpec]
}

private[canton] final class SigningSpec(
    name: String,
    algorithm: String,
    keyKind: String,
    val keySpec: Option[SigningKeySpec],
    val algoSpec: Option[SigningAlgoSpec],
) extends Spec(name, algorithm, keyKind, 0)

private[canton] final class EncryptionSpec(
    name: String,
    algorithm: String,
    keyKind: String,
    bits: Int,
    val keySpec: Option[EncryptionKeySpec],
    val algoSpec: Option[EncryptionAlgoSpec],
) extends Spec(name, algorithm, keyKind, bits)

private[canton] final class SymmetricSpec(name: String, algorithm: String, keyKind: String)
    extends Spec(name, algorithm, keyKind, 0) {
  val keySpec: Option[KeySpec] = None

  // "aes": of a length that its token does not tell.
  override def fits(key: hsmux.KeyInfo): Boolean = super.fits(key) || key.kind == "aes"
}

private[canton] object Specs {

  /** A case object that Canton's API has only since 3.4: this jar is compiled against the API of 3.3 and runs on all.
    * Two objects of one name differ by the trait that they are nested in.
    */
  private def since34[T](companion: String, name: String): Option[T] =
    try {
      val module = Class.forName(
        s"com.digitalasset.canton.crypto.kms.driver.api.v1.$companion$$$name$$",
        true,
        classOf[KeySpec].getClassLoader,
      )
      Some(module.getField("MODULE$").get(null).asInstanceOf[T])
    } catch {
      case _: ClassNotFoundException => None
      case NonFatal(_) | _: LinkageError => None
    }

  val signing: Seq[SigningSpec] = {
    val sha256 = Some(SigningAlgoSpec.EcDsaSha256)
    Seq(
      new SigningSpec("ec-p256", "ecdsa-p256-sha256", "ec-p256", Some(SigningKeySpec.EcP256), sha256),
      new SigningSpec(
        "ec-p384",
        "ecdsa-p384-sha384",
        "ec-p384",
        Some(SigningKeySpec.EcP384),
        Some(SigningAlgoSpec.EcDsaSha384),
      ),
      new SigningSpec(
        "ec-secp256k1",
        "ecdsa-secp256k1-sha256",
        "ec-secp256k1",
        Some(SigningKeySpec.EcSecp256k1),
        sha256,
      ),
      new SigningSpec(
        "ec-curve25519",
        "ed25519",
        "ed25519",
        since34[SigningKeySpec]("SigningKeySpec", "EcCurve25519"),
        since34[SigningAlgoSpec]("SigningAlgoSpec", "Ed25519"),
      ),
    )
  }

  val encryption: Seq[EncryptionSpec] = Seq(
    new EncryptionSpec(
      "rsa-2048",
      "rsa-oaep-sha256",
      "rsa",
      2048,
      Some(EncryptionKeySpec.Rsa2048),
      Some(EncryptionAlgoSpec.RsaEsOaepSha256),
    ),
    new EncryptionSpec(
      "ecies-p256",
      "ecies-p256",
      "ec-p256",
      0,
      since34[EncryptionKeySpec]("EncryptionKeySpec", "EcP256"),
      since34[EncryptionAlgoSpec]("EncryptionAlgoSpec", "EciesHkdfHmacSha256Aes128Cbc"),
    ),
  )

  val symmetric: Seq[SymmetricSpec] = Seq(
    new SymmetricSpec("aes-256", "aes-256-gcm", "aes-256"),
    new SymmetricSpec("aes-128", "aes-128-gcm", "aes-128"),
  )

  val all: Seq[Spec] = signing ++ encryption ++ symmetric
  val names: Seq[String] = all.map(_.name)
}
