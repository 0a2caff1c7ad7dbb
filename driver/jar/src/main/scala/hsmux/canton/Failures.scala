package hsmux.canton

import com.digitalasset.canton.crypto.kms.driver.api.v1.KmsDriverException
import hsmux.{HsmuxException, Status}

import java.util.concurrent.CompletionException

/** What went wrong, as Canton wants it. */
private[canton] object Failures {

  /** Canton tries a retryable failure again for ever: only what waiting can cure is one. A PIN, a key, an algorithm or
    * data that is wrong stays wrong.
    */
  def retryable(failure: HsmuxException): Boolean = failure.status match {
    case Status.TIMEOUT | Status.OVERLOADED => true
    case Status.UNAVAILABLE | Status.DEVICE => failure.retryable
    case _ => false
  }

  def of(failure: Throwable): KmsDriverException = failure match {
    case known: KmsDriverException => known
    case wrapped: CompletionException if wrapped.getCause != null => of(wrapped.getCause)
    case known: HsmuxException => KmsDriverException(known, retryable(known))
    case other => KmsDriverException(other, retryable = false)
  }

  def wrong(message: String): KmsDriverException =
    KmsDriverException(HsmuxException.of(Status.INVALID_ARGUMENT, message), retryable = false)

  def status(failure: KmsDriverException): Status = failure.exception match {
    case known: HsmuxException => known.status
    case _ => Status.INTERNAL
  }
}
