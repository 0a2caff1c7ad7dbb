// Compile-only declarations of Canton's public KMS driver API as of 3.3, restated from its documentation for builds that
// cannot resolve the real artifact. Never packed into the driver's jar.
package com.digitalasset.canton.crypto.kms.driver.api

import com.digitalasset.canton.driver.api.DriverFactory

trait KmsDriver

trait KmsDriverFactory extends DriverFactory {
  override type Driver <: KmsDriver
}
