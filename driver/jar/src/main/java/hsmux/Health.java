package hsmux;

import java.util.List;

/**
 * How the engine is, answered from memory.
 *
 * @param reasons why it is not OK: lines
 */
public record Health(Level level, List<String> reasons) {
  /** {@code hsmux_health_level}, in its order. */
  public enum Level {
    OK,
    /** Requests are served, but not by every slot. */
    DEGRADED,
    /** No slot can serve; it may come back by itself, or when an operator acts. */
    FAILED,
    /** No slot can serve, and only a restart of the process cures that. */
    FATAL
  }

  static Health parse(String health) {
    String[] fields = health.split("\u001f", -1);
    Level[] levels = Level.values();
    return new Health(
        levels[Math.min(Integer.parseInt(fields[0]), levels.length - 1)],
        fields[1].isEmpty() ? List.of() : List.of(fields[1].split("\n")));
  }
}
