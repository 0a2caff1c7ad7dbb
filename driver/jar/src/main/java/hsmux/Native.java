package hsmux;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The native methods, and what the native side calls. Texts are UTF-8, names for the native side end with NUL. An
 * engine's handle must not be used once {@link #close} has been called with it.
 */
final class Native {
  static final int SIGN = 0;
  static final int DECRYPT = 1;
  static final int ENCRYPT = 2;

  private static final Map<Long, LogSink> SINKS = new ConcurrentHashMap<>();
  private static final AtomicLong LAST_SINK = new AtomicLong();

  static {
    NativeLibrary.load();
  }

  private Native() {}

  /** 0 when it failed; the request then has the reason. Blocks. */
  static native long open(
      Request<?> request,
      byte[] configPath,
      byte[] configText,
      byte[] configFolder,
      int slotsAtStartMin,
      long connectTimeoutMs,
      long logSink);

  /** The status. Blocks. */
  static native int close(long engine, long timeoutMs);

  static native void submitCrypto(
      long engine, Request<byte[]> request, int operation, byte[] key, byte[] algorithm, byte[] data, long timeoutMs);

  static native void submitGenerate(
      long engine, Request<KeyInfo> request, byte[] label, byte[] algorithm, int bits, byte[] slots, long timeoutMs);

  static native void submitFind(long engine, Request<KeyInfo> request, byte[] key, long timeoutMs);

  static native void submitLook(long engine, Request<KeyInfo> request, byte[] key, long timeoutMs);

  static native void submitPublic(long engine, Request<byte[]> request, byte[] key, long timeoutMs);

  static native void submitDelete(long engine, Request<KeyInfo> request, byte[] key, long timeoutMs);

  static native byte[] slots(long engine);

  static native byte[] health(long engine);

  static native long[] work(long engine);

  /** A descriptor from which the engine reads this PIN, or -1. To be closed when the engine is. */
  static native int lendPin(byte[] pin);

  static native void closeDescriptor(int descriptor);

  static native String version();

  /** A line that comes when the sink is gone is dropped. */
  static long addSink(LogSink sink) {
    long number = LAST_SINK.incrementAndGet();
    SINKS.put(number, sink);
    return number;
  }

  static void removeSink(long number) {
    SINKS.remove(number);
  }

  private static String text(byte[] utf8) {
    return utf8 == null ? "" : new String(utf8, StandardCharsets.UTF_8);
  }

  // --- called by the native side ---

  static void succeeded(Request<?> request, byte[] result, int slotUsed, int attempts, long waitedNanos) {
    request.tell(slotUsed, attempts, waitedNanos);
    request.succeed(result);
  }

  static void found(Request<?> request, byte[] id, byte[] label, byte[] kind, int bits, int flags, byte[] slots) {
    request.succeed(
        new KeyInfo(
            text(id),
            text(label),
            text(kind),
            bits,
            (flags & 1) != 0,
            (flags & 2) != 0,
            (flags & 4) != 0,
            (flags & 16) != 0,
            (flags & 8) != 0,
            List.of(text(slots).split(","))));
  }

  static void failed(
      Request<?> request,
      int status,
      boolean retryable,
      long ckRv,
      byte[] call,
      byte[] slot,
      byte[] message,
      int slotUsed,
      int attempts,
      long waitedNanos) {
    request.tell(slotUsed, attempts, waitedNanos);
    request.fail(new HsmuxException(Status.of(status), retryable, ckRv, text(call), text(slot), text(message)));
  }

  static void log(long sink, int level, byte[] line) {
    LogSink known = SINKS.get(sink);
    if (known != null) known.log(LogSink.Level.values()[Math.min(Math.max(level, 0), 3)], text(line));
  }
}
