package hsmux;

/** How a request ended: {@code hsmux_status} of engine/hsmux.h, by its number. */
public enum Status {
  OK(0),
  INVALID_ARGUMENT(1),
  INVALID_CONFIG(2),
  KEY_NOT_FOUND(3),
  KEY_AMBIGUOUS(4),
  KEY_UNUSABLE(5),
  UNSUPPORTED(6),
  DECRYPT_FAILED(7),
  SIGNATURE_INVALID(8),
  CREDENTIALS(9),
  TIMEOUT(10),
  OVERLOADED(11),
  UNAVAILABLE(12),
  DEVICE(13),
  MODULE(14),
  FORKED(15),
  CLOSED(16),
  INTERNAL(17),
  CONFLICT(18),
  IO(19),
  CANCELLED(20);

  private final int number;

  Status(int number) {
    this.number = number;
  }

  /** "key-not-found". */
  public String text() {
    return name().toLowerCase(java.util.Locale.ROOT).replace('_', '-');
  }

  static Status of(int number) {
    for (Status status : values()) {
      if (status.number == number) return status;
    }
    return INTERNAL;
  }
}
