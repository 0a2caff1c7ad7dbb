// Compile-only declarations of Canton's public KMS driver API as of 3.3, restated from its documentation for builds that
// cannot resolve the real artifact. Never packed into the driver's jar.
package com.digitalasset.canton.crypto.kms.driver.api.v1

import com.digitalasset.canton.crypto.kms.driver.api
import com.digitalasset.canton.driver.api.v1.DriverFactory
import io.opentelemetry.context.Context

import scala.concurrent.Future

trait KmsDriverFactory extends api.KmsDriverFactory with DriverFactory {
  override val version: Int = 1
  override type Driver <: KmsDriver
}

trait KmsDriver extends api.KmsDriver with AutoCloseable {
  def health: Future[KmsDriverHealth]

  def supportedSigningKeySpecs: Set[SigningKeySpec]
  def supportedSigningAlgoSpecs: Set[SigningAlgoSpec]
  def supportedEncryptionKeySpecs: Set[EncryptionKeySpec]
  def supportedEncryptionAlgoSpecs: Set[EncryptionAlgoSpec]

  def generateSigningKeyPair(signingKeySpec: SigningKeySpec, keyName: Option[String])(
      traceContext: Context
  ): Future[String]
  def generateEncryptionKeyPair(encryptionKeySpec: EncryptionKeySpec, keyName: Option[String])(
      traceContext: Context
  ): Future[String]
  def generateSymmetricKey(keyName: Option[String])(traceContext: Context): Future[String]

  def sign(data: Array[Byte], keyId: String, algoSpec: SigningAlgoSpec)(traceContext: Context): Future[Array[Byte]]
  def decryptAsymmetric(ciphertext: Array[Byte], keyId: String, algoSpec: EncryptionAlgoSpec)(
      traceContext: Context
  ): Future[Array[Byte]]
  def encryptSymmetric(data: Array[Byte], keyId: String)(traceContext: Context): Future[Array[Byte]]
  def decryptSymmetric(ciphertext: Array[Byte], keyId: String)(traceContext: Context): Future[Array[Byte]]

  def getPublicKey(keyId: String)(traceContext: Context): Future[PublicKey]
  def keyExistsAndIsActive(keyId: String)(traceContext: Context): Future[Unit]
  def deleteKey(keyId: String)(traceContext: Context): Future[Unit]
}

final case class PublicKey(key: Array[Byte], spec: KeySpec)

final case class KmsDriverException(exception: Throwable, retryable: Boolean)
    extends RuntimeException(s"The KMS driver failed: ${exception.getMessage}", exception)

sealed trait KmsDriverHealth
object KmsDriverHealth {
  case object Ok extends KmsDriverHealth
  final case class Degraded(reason: String) extends KmsDriverHealth
  final case class Failed(reason: String) extends KmsDriverHealth
  final case class Fatal(reason: String) extends KmsDriverHealth
}
