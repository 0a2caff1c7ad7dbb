package hsmux.canton.suite

import com.digitalasset.canton.crypto.kms.driver.api.v1._

/** The specs of the API that this JVM has; those since 3.4 by name, as this is compiled against 3.3. */
object Api {
  val since34: Boolean = Tokens.api != "3.3"

  private def objectOf[T](companion: String, name: String): T =
    Class
      .forName(s"com.digitalasset.canton.crypto.kms.driver.api.v1.$companion$$$name$$")
      .getField("MODULE$")
      .get(null)
      .asInstanceOf[T]

  private def newer[T](companion: String, name: String): Seq[T] =
    if (since34) Seq(objectOf[T](companion, name)) else Seq.empty

  val signing: Seq[(SigningKeySpec, SigningAlgoSpec)] = Seq[(SigningKeySpec, SigningAlgoSpec)](
    SigningKeySpec.EcP256 -> SigningAlgoSpec.EcDsaSha256,
    SigningKeySpec.EcP384 -> SigningAlgoSpec.EcDsaSha384,
    SigningKeySpec.EcSecp256k1 -> SigningAlgoSpec.EcDsaSha256,
  ) ++ newer[SigningKeySpec]("SigningKeySpec", "EcCurve25519").zip(newer[SigningAlgoSpec]("SigningAlgoSpec", "Ed25519"))

  val encryption: Seq[(EncryptionKeySpec, EncryptionAlgoSpec)] =
    Seq[(EncryptionKeySpec, EncryptionAlgoSpec)](EncryptionKeySpec.Rsa2048 -> EncryptionAlgoSpec.RsaEsOaepSha256) ++
      newer[EncryptionKeySpec]("EncryptionKeySpec", "EcP256")
        .zip(newer[EncryptionAlgoSpec]("EncryptionAlgoSpec", "EciesHkdfHmacSha256Aes128Cbc"))
}
