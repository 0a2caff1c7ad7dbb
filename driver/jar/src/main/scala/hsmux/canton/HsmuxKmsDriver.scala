package hsmux.canton

import com.digitalasset.canton.crypto.kms.driver.api.v1._
import hsmux._
import io.opentelemetry.context.Context
import org.slf4j.Logger

import java.time.Duration
import java.util.Optional
import java.util.concurrent.CompletableFuture
import scala.concurrent.{ExecutionContext, Future, Promise}
import scala.jdk.CollectionConverters._
import scala.util.control.NonFatal

/** A Canton node's keys in the slots of hsmux's engine. Nothing blocks but [[close]]; futures are completed on the
  * execution context that the factory was given. Thread-safe.
  *
  * Compiled against the API of Canton 3.3, whose trait has no initialiser; the one of 3.4 and later then never runs.
  */
final class HsmuxKmsDriver private (
    engine: Engine,
    config: DriverConfig,
    logger: Logger,
    observer: Observer,
    executionContext: ExecutionContext,
) extends KmsDriver {
  private val keys = new KeyNames(engine)
  private val specs = new SupportedSpecs(config)
  // Copied AES keys do not tell their length in every token: then it is taken to be the configured one.
  private val symmetric = Specs.symmetric.sortBy(_.name != config.symmetricKey)

  specs.see(engine.slots.asScala.toSeq)

  override def health: Future[KmsDriverHealth] =
    try {
      val health = engine.health
      def reasons: String = health.reasons.asScala.mkString("; ")
      Future.successful(health.level match {
        case Health.Level.OK => KmsDriverHealth.Ok
        case Health.Level.DEGRADED => KmsDriverHealth.Degraded(reasons)
        case Health.Level.FAILED => KmsDriverHealth.Failed(reasons)
        case Health.Level.FATAL => KmsDriverHealth.Fatal(reasons)
      })
    } catch { case NonFatal(e) => Future.successful(KmsDriverHealth.Failed(s"hsmux does not tell its health: $e")) }

  private[canton] def slots: Seq[SlotInfo] = engine.slots.asScala.toSeq

  private[canton] def reportedSpecs: Seq[String] = {
    specs.see(slots)
    specs.reported.map(_.name)
  }

  private def reported[S <: Spec, T](rows: Seq[S])(value: S => Option[T]): Set[T] = {
    specs.see(slots)
    rows.filter(specs.reports).flatMap(value(_)).toSet
  }
  override def supportedSigningKeySpecs: Set[SigningKeySpec] = reported(Specs.signing)(_.keySpec)
  override def supportedSigningAlgoSpecs: Set[SigningAlgoSpec] = reported(Specs.signing)(_.algoSpec)
  override def supportedEncryptionKeySpecs: Set[EncryptionKeySpec] = reported(Specs.encryption)(_.keySpec)
  override def supportedEncryptionAlgoSpecs: Set[EncryptionAlgoSpec] = reported(Specs.encryption)(_.algoSpec)

  override def generateSigningKeyPair(signingKeySpec: SigningKeySpec, keyName: Option[String])(
      traceContext: Context
  ): Future[String] =
    generate(Specs.signing.find(_.keySpec.contains(signingKeySpec)), signingKeySpec, keyName, traceContext)

  override def generateEncryptionKeyPair(encryptionKeySpec: EncryptionKeySpec, keyName: Option[String])(
      traceContext: Context
  ): Future[String] =
    generate(Specs.encryption.find(_.keySpec.contains(encryptionKeySpec)), encryptionKeySpec, keyName, traceContext)

  override def generateSymmetricKey(keyName: Option[String])(traceContext: Context): Future[String] =
    generate(Specs.symmetric.find(_.name == config.symmetricKey), config.symmetricKey, keyName, traceContext)

  override def sign(data: Array[Byte], keyId: String, algoSpec: SigningAlgoSpec)(
      traceContext: Context
  ): Future[Array[Byte]] =
    observed("sign", Some(keyId), algoSpec, data.length, traceContext) { observation =>
      withKey(keyId, Specs.signing.filter(_.algoSpec.contains(algoSpec)), algoSpec)(_.signs) { (key, spec) =>
        observation.of(engine.sign(key.nameBytes, spec.algorithmName, data))
      }
    }

  override def decryptAsymmetric(ciphertext: Array[Byte], keyId: String, algoSpec: EncryptionAlgoSpec)(
      traceContext: Context
  ): Future[Array[Byte]] =
    observed("decrypt-asymmetric", Some(keyId), algoSpec, ciphertext.length, traceContext) { observation =>
      withKey(keyId, Specs.encryption.filter(_.algoSpec.contains(algoSpec)), algoSpec)(key => key.decrypts || key.agrees) { (key, spec) =>
        observation.of(engine.decrypt(key.nameBytes, spec.algorithmName, ciphertext))
      }
    }

  override def encryptSymmetric(data: Array[Byte], keyId: String)(traceContext: Context): Future[Array[Byte]] =
    observed("encrypt-symmetric", Some(keyId), "AES-GCM", data.length, traceContext) { observation =>
      withKey(keyId, symmetric, "AES-GCM")(_.encrypts) { (key, spec) =>
        observation.of(engine.encrypt(key.nameBytes, spec.algorithmName, data))
      }
    }

  override def decryptSymmetric(ciphertext: Array[Byte], keyId: String)(traceContext: Context): Future[Array[Byte]] =
    observed("decrypt-symmetric", Some(keyId), "AES-GCM", ciphertext.length, traceContext) { observation =>
      withKey(keyId, symmetric, "AES-GCM")(_.decrypts) { (key, spec) =>
        observation.of(engine.decrypt(key.nameBytes, spec.algorithmName, ciphertext))
      }
    }

  override def getPublicKey(keyId: String)(traceContext: Context): Future[PublicKey] =
    observed("get-public-key", Some(keyId), "", 0, traceContext) { _ =>
      checkId(keyId)
      keys.find(keyId).thenCompose[PublicKey] { key =>
        val spec = publicSpec(key.info)
        engine.publicKey(key.name).thenApply[PublicKey](PublicKey(_, spec))
      }
    }

  override def keyExistsAndIsActive(keyId: String)(traceContext: Context): Future[Unit] =
    observed("key-exists", Some(keyId), "", 0, traceContext) { _ =>
      checkId(keyId)
      keys.findNow(keyId).thenApply[Unit](_ => ())
    }

  override def deleteKey(keyId: String)(traceContext: Context): Future[Unit] =
    observed("delete-key", Some(keyId), "", 0, traceContext) { _ =>
      checkId(keyId)
      keys
        .find(keyId)
        .thenCompose[KeyInfo](key => engine.delete(key.name))
        .thenApply[Unit](_ => keys.forget(keyId))
    }

  /** Requests that wait fail, running ones get `close-timeout`. Twice is once. */
  override def close(): Unit =
    if (!engine.close(Duration.ofMillis(config.closeTimeout.toMillis))) {
      logger.warn("A PKCS#11 module did not return from all calls in time; they are left behind")
    }

  private def generate(
      spec: Option[Spec],
      wanted: Any,
      keyName: Option[String],
      traceContext: Context,
  ): Future[String] =
    observed("generate-key", None, wanted, 0, traceContext) { _ =>
      val row = spec.getOrElse(throw Failures.wrong(s"hsmux has no keys of spec $wanted"))
      engine
        .generate(KeyNames.label(keyName), row.algorithm, row.bits, placementText(row))
        .thenApply[String] { info =>
          keys.remember(info.id, info)
          info.id
        }
    }

  // null: the TOML file's own.
  private def placementText(spec: Spec): String = config.engine match {
    case EngineConfig.File(_) if config.placement.get(spec.name).orElse(config.defaultPlacement).isEmpty => null
    case _ => specs.placementOf(spec.name).text
  }

  private def publicSpec(info: KeyInfo): KeySpec = {
    def wrong(what: String) =
      throw Failures.wrong(s"key ${info.id} (${info.kind}, ${info.bits} bits) $what")
    val row: Option[Spec] =
      if (info.signs) Specs.signing.find(_.fits(info))
      else if (info.decrypts || info.agrees) Specs.encryption.find(_.fits(info))
      else None
    row.getOrElse(wrong("is of no spec that Canton's driver API has")).keySpec.getOrElse(wrong("is of a spec that this Canton does not know"))
  }

  private def checkId(keyId: String): Unit = {
    if (keyId.isEmpty) throw Failures.wrong("the key id is empty")
    if (keyId.length > KeyNames.LongestId)
      throw Failures.wrong(s"a key id has at most ${KeyNames.LongestId} characters; this one has ${keyId.length}")
  }

  /** `work` with the key of that id, if one of the rows fits its kind. A remembered key that is gone is looked up anew
    * once: the label or URI may lead to another by now.
    */
  private def withKey[S <: Spec](keyId: String, rows: Seq[S], wanted: Any)(purpose: KeyInfo => Boolean)(
      work: (KnownKey, S) => CompletableFuture[Array[Byte]]
  ): CompletableFuture[Array[Byte]] = {
    checkId(keyId)
    def use(key: KnownKey): CompletableFuture[Array[Byte]] = {
      val info = key.info
      rows.find(_.fits(info)) match {
        case Some(row) if purpose(info) => work(key, row)
        case Some(_) => throw Failures.wrong(s"key ${info.id} (${info.kind}) was made for another purpose than $wanted")
        case None => throw Failures.wrong(s"key ${info.id} is ${info.kind} with ${info.bits} bits and does not fit $wanted")
      }
    }
    keys.remembered(keyId) match {
      case None => keys.find(keyId).thenCompose[Array[Byte]](use(_))
      case Some(key) =>
        use(key).handle[CompletableFuture[Array[Byte]]] { (result, failure) =>
          failure match {
            case null => CompletableFuture.completedFuture(result)
            case gone: HsmuxException if gone.status == Status.KEY_NOT_FOUND =>
              keys.forget(keyId)
              keys.find(keyId).thenCompose[Array[Byte]](use(_))
            case other => CompletableFuture.failedFuture[Array[Byte]](other)
          }
        }.thenCompose[Array[Byte]](identity(_))
    }
  }

  private def observed[A](operation: String, keyId: Option[String], algorithm: Any, bytes: Int, context: Context)(
      work: observer.Observation => CompletableFuture[A]
  ): Future[A] = {
    val observation = observer.begin(operation, keyId, algorithm.toString, bytes, context)
    val promise = Promise[A]()
    val started =
      try work(observation)
      catch { case NonFatal(e) => CompletableFuture.failedFuture[A](e) }
    started.whenComplete { (result, failure) =>
      // Not on the engine's thread: what the caller hangs on the future may take as long as it likes.
      def complete(): Unit =
        if (failure == null) {
          observation.succeeded()
          promise.success(result)
        } else {
          val seen = Failures.of(failure)
          observation.failed(seen)
          promise.failure(seen)
        }
      try executionContext.execute(() => complete())
      catch { case NonFatal(_) => complete() } // it takes no more work
      ()
    }
    promise.future
  }
}

object HsmuxKmsDriver {
  private val EnginePlace = "^configuration(:[0-9]+)?: ".r

  private[canton] def open(
      config: DriverConfig,
      loggerFactory: Class[_] => Logger,
      executionContext: ExecutionContext,
  ): HsmuxKmsDriver = {
    val logger = loggerFactory(classOf[HsmuxKmsDriver])
    val engineLogger = loggerFactory(classOf[Engine])
    val lent = Seq.newBuilder[Integer]
    val text = config.engine match {
      case inline: EngineConfig.Inline =>
        Some(EngineToml.text(inline, algorithms(config), { pin => val fd = Engine.lendPin(pin.secret); lent += fd; fd }))
      case EngineConfig.File(_) => None
    }
    val file = config.engine match {
      case EngineConfig.File(path) => Some(path)
      case _ => None
    }
    val engine =
      try
        Engine.open(
          new EngineOptions(
            Optional.ofNullable(file.orNull),
            Optional.ofNullable(text.orNull),
            ".",
            lent.result().asJava,
            config.minSlotsAtStart,
            Duration.ofMillis(config.connectTimeout.toMillis),
            log(engineLogger),
          )
        )
      catch {
        case e: HsmuxException =>
          val message = EnginePlace.replaceFirstIn(e.getMessage, "crypto.kms.config: ")
          throw KmsDriverException(
            new HsmuxException(e.status, e.retryable, e.ckRv, e.call, e.slot, s"hsmux cannot start: $message"),
            Failures.retryable(e),
          )
      }
    val driver =
      new HsmuxKmsDriver(engine, config, logger, new Observer(config, loggerFactory(classOf[Observer]), engine.slots.asScala.map(_.name).toSeq), executionContext)
    logger.info(
      s"hsmux ${Engine.version} serves with slots ${driver.slots.filter(_.connected).map(_.name).mkString(", ")}; " +
        s"specs: ${driver.reportedSpecs.mkString(", ")}"
    )
    driver
  }

  // Symmetric keys of the other size may be there from before.
  private def algorithms(config: DriverConfig): Seq[String] =
    Specs.all
      .filter(spec => config.specs.forall(_.contains(spec.name)) || Specs.symmetric.exists(_.name == spec.name))
      .map(_.algorithm)

  private def log(logger: Logger): LogSink = (level, text) =>
    level match {
      case LogSink.Level.DEBUG => logger.debug(text)
      case LogSink.Level.INFO => logger.info(text)
      case LogSink.Level.WARNING => logger.warn(text)
      case LogSink.Level.ERROR => logger.error(text)
    }
}
