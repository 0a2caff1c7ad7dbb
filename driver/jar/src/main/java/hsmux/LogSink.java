package hsmux;

/** Gets the engine's log lines, on any thread; must be thread-safe and return soon. Lines hold no secrets. */
@FunctionalInterface
public interface LogSink {
  enum Level {
    DEBUG,
    INFO,
    WARNING,
    ERROR
  }

  void log(Level level, String text);
}
