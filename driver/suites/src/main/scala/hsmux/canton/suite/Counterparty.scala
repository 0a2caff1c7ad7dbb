package hsmux.canton.suite

import org.bouncycastle.jce.provider.BouncyCastleProvider
import org.bouncycastle.jce.spec.IESParameterSpec

import java.security.spec.X509EncodedKeySpec
import java.security.{KeyFactory, PublicKey, SecureRandom, Signature}
import javax.crypto.Cipher

/** What other nodes do with a node's public key: BouncyCastle, as Canton uses it. */
object Counterparty {
  val bc = new BouncyCastleProvider

  private def key(algorithm: String, spki: Array[Byte]): PublicKey =
    KeyFactory.getInstance(algorithm, bc).generatePublic(new X509EncodedKeySpec(spki))

  def verifies(algoSpec: String, spki: Array[Byte], data: Array[Byte], signature: Array[Byte]): Boolean = {
    val (name, family) = algoSpec match {
      case "EcDsaSha256" => ("SHA256withECDSA", "EC")
      case "EcDsaSha384" => ("SHA384withECDSA", "EC")
      case "Ed25519" => ("Ed25519", "Ed25519")
    }
    val verifier = Signature.getInstance(name, bc)
    verifier.initVerify(key(family, spki))
    verifier.update(data)
    verifier.verify(signature)
  }

  def encrypt(algoSpec: String, spki: Array[Byte], data: Array[Byte]): Array[Byte] = algoSpec match {
    case "RsaEsOaepSha256" =>
      val cipher = Cipher.getInstance("RSA/NONE/OAEPWithSHA256AndMGF1Padding", bc)
      cipher.init(Cipher.ENCRYPT_MODE, key("RSA", spki))
      cipher.doFinal(data)
    case "EciesHkdfHmacSha256Aes128Cbc" =>
      val iv = new Array[Byte](16)
      new SecureRandom().nextBytes(iv)
      val cipher = Cipher.getInstance("ECIESwithSHA256andAES-CBC", bc)
      val parameters = new IESParameterSpec(Array.emptyByteArray, Array.emptyByteArray, 512, 128, iv)
      cipher.init(Cipher.ENCRYPT_MODE, key("EC", spki), parameters)
      iv ++ cipher.doFinal(data)
  }
}
