// Compile-only declarations of Canton's public KMS driver API as of 3.3, restated from its documentation for builds that
// cannot resolve the real artifact. Never packed into the driver's jar.
package com.digitalasset.canton.driver.api

trait DriverFactory {
  type Driver
  def name: String
  def version: Int
}
