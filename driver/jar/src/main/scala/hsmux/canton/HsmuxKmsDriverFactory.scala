package hsmux.canton

import com.digitalasset.canton.crypto.kms.driver.api.v1.KmsDriverFactory
import org.slf4j.Logger
import pureconfig.{ConfigReader, ConfigWriter}

import scala.concurrent.{ExecutionContext, blocking}

/** What Canton finds by ServiceLoader under the name `hsmux`. Cheap to make: nothing native is loaded before
  * [[create]].
  */
final class HsmuxKmsDriverFactory extends KmsDriverFactory {
  override type Driver = HsmuxKmsDriver
  override type ConfigType = DriverConfig

  override def name: String = "hsmux"

  override def buildInfo: Option[String] = Option(getClass.getPackage.getImplementationVersion)

  override def configReader: ConfigReader[DriverConfig] = DriverConfigReader.reader

  override def configWriter(confidential: Boolean): ConfigWriter[DriverConfig] =
    new DriverConfigWriter(confidential).writer

  /** Blocks until `min-slots-at-start` slots are up, at most little more than `connect-timeout`. */
  override def create(
      config: DriverConfig,
      loggerFactory: Class[_] => Logger,
      executionContext: ExecutionContext,
  ): HsmuxKmsDriver = blocking(HsmuxKmsDriver.open(config, loggerFactory, executionContext))
}
