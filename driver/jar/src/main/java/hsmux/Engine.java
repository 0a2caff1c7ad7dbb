package hsmux;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.LongConsumer;

/**
 * hsmux's engine: keys by name, spread over the slots of several HSMs. All requests are asynchronous: no call blocks but
 * {@link #open} and {@link #close}. Futures are completed on a thread of the engine, which must not be held up: use the
 * {@code ...Async} forms of what depends on them for anything but short work. Failures are {@link HsmuxException}.
 * Thread-safe.
 *
 * <p>Keys are named by a label, {@code id:HEX} (CKA_ID) or an RFC 7512 URI; algorithms as in docs/algorithms.md.
 */
public final class Engine implements AutoCloseable {
  private static final int CLOSING = 1 << 30; // above any number of calls at once
  private static final Duration CLOSE_TIMEOUT = Duration.ofSeconds(5);

  private final long handle;
  private final long sink;
  private final List<Integer> lentPins;
  // Calls that use the handle now; CLOSING is added when none may begin.
  private final AtomicInteger uses = new AtomicInteger();
  private final CompletableFuture<Boolean> closed = new CompletableFuture<>();

  private Engine(long handle, long sink, List<Integer> lentPins) {
    this.handle = handle;
    this.sink = sink;
    this.lentPins = lentPins;
  }

  /** "0.1.0", of the native library. */
  public static String version() {
    return Native.version();
  }

  /** A descriptor from which the engine reads this PIN: {@code pin = { fd = N }}. */
  public static int lendPin(String pin) {
    byte[] bytes = pin.getBytes(StandardCharsets.UTF_8);
    int descriptor = Native.lendPin(bytes);
    Arrays.fill(bytes, (byte) 0);
    if (descriptor < 0) {
      throw HsmuxException.of(Status.CREDENTIALS, "a PIN has 1 to 256 bytes");
    }
    return descriptor;
  }

  /**
   * Loads the modules, connects the slots and logs in: blocks for as long, at most little more than the connect
   * time-out, also when a module hangs. The work is done on a thread of its own.
   */
  public static Engine open(EngineOptions options) {
    long sink = Native.addSink(options.log());
    Request<Engine> opened = new Request<>();
    Runnable work =
        () -> {
          try {
            long handle =
                Native.open(
                    opened,
                    options.configFile().map(Engine::name).orElse(null),
                    options.configText().map(Engine::name).orElse(null),
                    name(options.configFolder()),
                    options.slotsAtStartMin(),
                    options.connectTimeout().toMillis(),
                    sink);
            if (handle == 0) {
              release(sink, options.lentPins());
              return;
            }
            Engine engine = new Engine(handle, sink, options.lentPins());
            if (!opened.complete(engine)) engine.close(); // nobody waited for so long
          } catch (Throwable failure) {
            opened.completeExceptionally(failure);
          }
        };
    // The engine itself keeps to its time-out but for calls that do not return.
    return await(work, "hsmux-open", opened, options.connectTimeout().plusSeconds(5));
  }

  public Request<byte[]> sign(String key, String algorithm, byte[] message) {
    return sign(name(key), name(algorithm), message);
  }

  public Request<byte[]> decrypt(String key, String algorithm, byte[] ciphertext) {
    return decrypt(name(key), name(algorithm), ciphertext);
  }

  public Request<byte[]> encrypt(String key, String algorithm, byte[] plaintext) {
    return encrypt(name(key), name(algorithm), plaintext);
  }

  /** With names made by {@link #name}, for callers that use them often. */
  public Request<byte[]> sign(byte[] key, byte[] algorithm, byte[] message) {
    return crypto(Native.SIGN, key, algorithm, message);
  }

  public Request<byte[]> decrypt(byte[] key, byte[] algorithm, byte[] ciphertext) {
    return crypto(Native.DECRYPT, key, algorithm, ciphertext);
  }

  public Request<byte[]> encrypt(byte[] key, byte[] algorithm, byte[] plaintext) {
    return crypto(Native.ENCRYPT, key, algorithm, plaintext);
  }

  /** {@code slots}: "all", "quorum:N", names with commas, or null for the configuration's placement. */
  public CompletableFuture<KeyInfo> generate(String label, String algorithm, int bits, String slots) {
    Request<KeyInfo> request = new Request<>();
    byte[] where = slots == null ? null : name(slots);
    return submit(
        request, engine -> Native.submitGenerate(engine, request, name(label), name(algorithm), bits, where, 0));
  }

  /** As {@link #find}, but always in the tokens of the slots that are up, which somebody else may have changed. */
  public CompletableFuture<KeyInfo> look(String key) {
    Request<KeyInfo> request = new Request<>();
    return submit(request, engine -> Native.submitLook(engine, request, name(key), 0));
  }

  /** Remembered, once it was found. */
  public CompletableFuture<KeyInfo> find(String key) {
    Request<KeyInfo> request = new Request<>();
    return submit(request, engine -> Native.submitFind(engine, request, name(key), 0));
  }

  /** DER SubjectPublicKeyInfo, the same bytes each time and from each replica. */
  public CompletableFuture<byte[]> publicKey(String key) {
    Request<byte[]> request = new Request<>();
    return submit(request, engine -> Native.submitPublic(engine, request, name(key), 0));
  }

  /** Every replica. */
  public CompletableFuture<KeyInfo> delete(String key) {
    Request<KeyInfo> request = new Request<>();
    return submit(request, engine -> Native.submitDelete(engine, request, name(key), 0));
  }

  /** Every configured slot, from memory; empty once the engine is closed. */
  public List<SlotInfo> slots() {
    if (!enter()) return List.of();
    try {
      byte[] slots = Native.slots(handle);
      return slots == null ? List.of() : SlotInfo.parse(new String(slots, StandardCharsets.UTF_8));
    } finally {
      uses.decrementAndGet();
    }
  }

  /** From memory: never waits for a module. */
  public Health health() {
    Health closed = new Health(Health.Level.FAILED, List.of("the engine is closed"));
    if (!enter()) return closed;
    try {
      byte[] health = Native.health(handle);
      return health == null ? closed : Health.parse(new String(health, StandardCharsets.UTF_8));
    } finally {
      uses.decrementAndGet();
    }
  }

  public WorkStats work() {
    if (!enter()) return new WorkStats(0, 0, 0, 0, 0);
    try {
      long[] work = Native.work(handle);
      return work == null ? new WorkStats(0, 0, 0, 0, 0) : new WorkStats(work[0], work[1], work[2], work[3], work[4]);
    } finally {
      uses.decrementAndGet();
    }
  }

  @Override
  public void close() {
    close(CLOSE_TIMEOUT);
  }

  /**
   * Waiting requests fail with CLOSED, running ones get {@code timeout}. All futures are completed when it returns. A
   * second call waits for the first. False: the module holds some calls for longer; they are left behind.
   */
  public boolean close(Duration timeout) {
    while (true) {
      int now = uses.get();
      if (now >= CLOSING) break;
      if (!uses.compareAndSet(now, now | CLOSING)) continue;
      CompletableFuture<Boolean> done = closed;
      start(
          () -> {
            while (uses.get() != CLOSING) Thread.onSpinWait(); // calls under way never block
            done.complete(Native.close(handle, Math.max(timeout.toMillis(), 1)) == 0);
            release(sink, lentPins);
          },
          "hsmux-close");
      break;
    }
    try {
      return closed.get(timeout.toMillis() + 3000, TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    } catch (ExecutionException | TimeoutException e) {
      return false;
    }
  }

  /** A name as the native side takes it. */
  public static byte[] name(String text) {
    if (text.indexOf('\0') >= 0) throw HsmuxException.of(Status.INVALID_ARGUMENT, "a name holds a NUL character");
    byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
    return Arrays.copyOf(utf8, utf8.length + 1);
  }

  private Request<byte[]> crypto(int operation, byte[] key, byte[] algorithm, byte[] data) {
    Request<byte[]> request = new Request<>();
    return submit(request, engine -> Native.submitCrypto(engine, request, operation, key, algorithm, data, 0));
  }

  private <T> Request<T> submit(Request<T> request, LongConsumer call) {
    if (!enter()) {
      request.fail(HsmuxException.of(Status.CLOSED, "the engine is closed"));
      return request;
    }
    try {
      call.accept(handle);
    } catch (HsmuxException e) {
      request.fail(e);
    } finally {
      uses.decrementAndGet();
    }
    return request;
  }

  private boolean enter() {
    if (uses.getAndIncrement() < CLOSING) return true;
    uses.decrementAndGet();
    return false;
  }

  private static void release(long sink, List<Integer> lentPins) {
    Native.removeSink(sink);
    for (int descriptor : lentPins) Native.closeDescriptor(descriptor);
  }

  private static void start(Runnable work, String name) {
    Thread thread = new Thread(work, name);
    thread.setDaemon(true);
    thread.start();
  }

  private static Engine await(Runnable work, String name, Request<Engine> opened, Duration timeout) {
    start(work, name);
    try {
      return opened.get(timeout.toMillis(), TimeUnit.MILLISECONDS);
    } catch (ExecutionException e) {
      if (e.getCause() instanceof HsmuxException failure) throw failure;
      if (e.getCause() instanceof Error error) throw error;
      throw new IllegalStateException(e.getCause());
    } catch (TimeoutException e) {
      HsmuxException failure =
          new HsmuxException(Status.TIMEOUT, true, 0, "", "", "a PKCS#11 module did not return while it was opened");
      if (opened.completeExceptionally(failure)) throw failure;
      return opened.join(); // at the last moment
    } catch (InterruptedException e) {
      opened.cancel(false);
      Thread.currentThread().interrupt();
      throw HsmuxException.of(Status.CANCELLED, "interrupted while the engine was opened");
    }
  }
}
