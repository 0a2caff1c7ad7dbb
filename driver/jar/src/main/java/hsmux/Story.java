package hsmux;

/**
 * How a request went.
 *
 * @param slot the last one that it was tried in, in the order of {@link Engine#slots}; -1: none
 * @param attempts made
 * @param waitedNanos for sessions, all attempts together
 */
public record Story(int slot, int attempts, long waitedNanos) {
  static final Story NONE = new Story(-1, 0, 0);
}
