package hsmux;

import java.util.concurrent.CompletableFuture;

/** One submitted request: the engine completes it exactly once. {@code T}: byte[], KeyInfo or Long (an engine). */
final class Request<T> extends CompletableFuture<T> {
  @SuppressWarnings("unchecked")
  void succeed(Object result) {
    complete((T) result);
  }

  void fail(HsmuxException failure) {
    completeExceptionally(failure);
  }
}
