package hsmux.canton.bench;

import com.digitalasset.canton.crypto.kms.driver.api.v1.SigningAlgoSpec;
import com.digitalasset.canton.crypto.kms.driver.api.v1.SigningKeySpec;
import com.typesafe.config.ConfigFactory;
import hsmux.canton.HsmuxKmsDriver;
import hsmux.canton.HsmuxKmsDriverFactory;
import io.opentelemetry.context.Context;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.Security;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.slf4j.LoggerFactory;
import scala.concurrent.Await;
import scala.concurrent.ExecutionContext;
import scala.concurrent.duration.Duration;

/**
 * ECDSA P-256 signatures of 34 bytes, as Canton has them signed, on one SoftHSM2 token, all in one process: by the driver
 * and by the engine without Java, 64 in flight each, and by SunPKCS11 on so many threads. driver/bench/run starts it.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 3, jvmArgsAppend = "-Xmx512m")
@Warmup(iterations = 2, time = 2)
@Measurement(iterations = 4, time = 2)
public class SignBenchmark {
  private static final int SIGNATURES = 4000;
  private static final int IN_FLIGHT = 64;
  private static final int BYTES = 34;

  private final byte[] data = new byte[BYTES];
  private final Path tokens = Path.of(System.getenv("HSMUX_TOKENS"));

  private <T> T get(scala.concurrent.Future<T> future) throws Exception {
    return Await.result(future, Duration.apply(60, TimeUnit.SECONDS));
  }

  private HsmuxKmsDriver open() {
    var factory = new HsmuxKmsDriverFactory();
    var config = ConfigFactory.parseString("config-file = \"" + tokens.resolve("hsmux.toml") + "\"").root();
    var read = factory.configReader().from(config).toOption().get();
    return factory.create(read, LoggerFactory::getLogger, ExecutionContext.global());
  }

  private String newKey(HsmuxKmsDriver driver) throws Exception {
    return get(
        driver.generateSigningKeyPair(
            SigningKeySpec.EcP256$.MODULE$, scala.Option.empty(), Context.root()));
  }

  /** The driver. */
  @State(Scope.Benchmark)
  public static class Driver {
    private HsmuxKmsDriver driver;
    private String key;
    private final Semaphore room = new Semaphore(IN_FLIGHT);

    @Setup(Level.Trial)
    public void open(SignBenchmark benchmark) throws Exception {
      driver = benchmark.open();
      key = benchmark.newKey(driver);
    }

    @TearDown(Level.Trial)
    public void close() {
      driver.close();
    }
  }

  @Benchmark
  @OperationsPerInvocation(SIGNATURES)
  public void driver(Driver state) throws Exception {
    var direct = ExecutionContext.parasitic$.MODULE$;
    for (int i = 0; i < SIGNATURES; ++i) {
      state.room.acquire();
      state
          .driver
          .sign(data, state.key, SigningAlgoSpec.EcDsaSha256$.MODULE$, Context.root())
          .onComplete(
              result -> {
                if (result.isFailure()) throw new IllegalStateException(result.failed().get());
                state.room.release();
                return null;
              },
              direct);
    }
    state.room.acquire(IN_FLIGHT);
    state.room.release(IN_FLIGHT);
  }

  /** The engine by its C ABI. */
  @State(Scope.Benchmark)
  public static class Engine {
    private long engine;
    private String key;

    @Setup(Level.Trial)
    public void open(SignBenchmark benchmark) throws Exception {
      HsmuxKmsDriver driver = benchmark.open();
      key = "id:" + benchmark.newKey(driver);
      driver.close();
      engine = NativeEngine.open(benchmark.tokens.resolve("hsmux.toml").toString());
    }
  }

  @Benchmark
  @OperationsPerInvocation(SIGNATURES)
  public void engine(Engine state) {
    NativeEngine.sign(state.engine, state.key, SIGNATURES, IN_FLIGHT, BYTES);
  }

  /** SunPKCS11, whose keys are session objects here: its best. */
  @State(Scope.Benchmark)
  public static class Sun {
    @Param({"1", "2", "4", "16", "64"})
    public int threads;

    private Provider provider;
    private PrivateKey key;
    private ExecutorService pool;

    @Setup(Level.Trial)
    public void open(SignBenchmark benchmark) throws Exception {
      String module =
          Files.readAllLines(benchmark.tokens.resolve("hsmux.toml")).stream()
              .filter(line -> line.startsWith("path = "))
              .findFirst()
              .orElseThrow()
              .replaceAll("^path = \"|\"$", "");
      Path file = Files.createTempFile("sun", ".cfg");
      Files.writeString(file, "name = sun\nlibrary = " + module + "\nslotListIndex = 0\n");
      provider = Security.getProvider("SunPKCS11").configure(file.toString());
      KeyStore store = KeyStore.getInstance("PKCS11", provider);
      store.load(null, Files.readString(benchmark.tokens.resolve("pins/hsmux-0.pin")).trim().toCharArray());
      KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", provider);
      generator.initialize(new ECGenParameterSpec("secp256r1"));
      key = generator.generateKeyPair().getPrivate();
      pool = Executors.newFixedThreadPool(threads);
    }

    @TearDown(Level.Trial)
    public void close() {
      pool.shutdown();
    }
  }

  @Benchmark
  @OperationsPerInvocation(SIGNATURES)
  public void sunPkcs11(Sun state) throws Exception {
    List<Future<?>> running = new ArrayList<>();
    for (int thread = 0; thread < state.threads; ++thread) {
      running.add(
          state.pool.submit(
              () -> {
                Signature signature = Signature.getInstance("SHA256withECDSA", state.provider);
                signature.initSign(state.key);
                for (int i = 0; i < SIGNATURES / state.threads; ++i) {
                  signature.update(data);
                  signature.sign();
                }
                return null;
              }));
    }
    for (Future<?> each : running) each.get();
  }
}
