package hsmux.canton.bench;

/** The engine by its C ABI, its requests made and completed without Java. */
final class NativeEngine {
  static {
    System.load(System.getenv("HSMUX_BENCH_LIBRARY"));
  }

  private NativeEngine() {}

  static native long open(String config);

  static native void sign(long engine, String key, int count, int inFlight, int dataBytes);
}
