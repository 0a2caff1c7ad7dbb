package hsmux;

import java.util.concurrent.CompletableFuture;

/**
 * One submitted request: the engine completes it exactly once.
 *
 * @param <T> byte[] or KeyInfo
 */
public final class Request<T> extends CompletableFuture<T> {
  private volatile Story story = Story.NONE;

  Request() {}

  /** How it went; known when it is completed, and only of signatures, decryptions and encryptions. */
  public Story story() {
    return story;
  }

  void tell(int slot, int attempts, long waitedNanos) {
    if (attempts > 0) story = new Story(slot, attempts, waitedNanos);
  }

  @SuppressWarnings("unchecked")
  void succeed(Object result) {
    complete((T) result);
  }

  void fail(HsmuxException failure) {
    completeExceptionally(failure);
  }

  @Override
  public <U> CompletableFuture<U> newIncompleteFuture() {
    return new CompletableFuture<>(); // what depends on it is no request
  }
}
