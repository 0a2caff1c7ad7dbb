package hsmux;

/** Why a request failed. Its text names no PIN, key byte or plaintext. Immutable. */
public final class HsmuxException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final Status status;
  private final boolean retryable;
  private final long ckRv;
  private final String call;
  private final String slot;

  public HsmuxException(Status status, boolean retryable, long ckRv, String call, String slot, String message) {
    // No stack trace: it would be of a thread of the engine, and making one costs more than the request.
    super(message.isEmpty() ? status.text() : message, null, false, false);
    this.status = status;
    this.retryable = retryable;
    this.ckRv = ckRv;
    this.call = call;
    this.slot = slot;
  }

  public static HsmuxException of(Status status, String message) {
    return new HsmuxException(status, false, 0, "", "", message);
  }

  public Status status() {
    return status;
  }

  /** The same request may succeed later. The engine has tried other sessions and slots already. */
  public boolean retryable() {
    return retryable;
  }

  /** What {@link #call()} answered; 0 when no call of the module failed. */
  public long ckRv() {
    return ckRv;
  }

  /** "C_Sign", or empty. */
  public String call() {
    return call;
  }

  /** The configured name of the slot concerned, or empty. */
  public String slot() {
    return slot;
  }
}
