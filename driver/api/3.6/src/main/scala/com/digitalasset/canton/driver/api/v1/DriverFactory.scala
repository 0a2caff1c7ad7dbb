// Compile-only declarations of Canton's public KMS driver API as of 3.6, restated from its documentation for builds that
// cannot resolve the real artifact. Never packed into the driver's jar.
package com.digitalasset.canton.driver.api.v1

import com.digitalasset.canton.driver.api
import org.slf4j.Logger
import pureconfig.{ConfigReader, ConfigWriter}

import scala.concurrent.ExecutionContext

trait DriverFactory extends api.DriverFactory {
  def name: String
  def version: Int
  def buildInfo: Option[String]
  type ConfigType
  def configReader: ConfigReader[ConfigType]
  def configWriter(confidential: Boolean): ConfigWriter[ConfigType]
  def create(config: ConfigType, loggerFactory: Class[_] => Logger, executionContext: ExecutionContext): Driver
}
