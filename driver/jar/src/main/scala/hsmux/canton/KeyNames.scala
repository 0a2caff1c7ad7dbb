package hsmux.canton

import hsmux.{Engine, HsmuxException, KeyInfo, Status}

import java.util.Locale
import java.util.concurrent.{CompletableFuture, CompletionException, ConcurrentHashMap}
import scala.jdk.CollectionConverters._

/** A key that Canton named, as the engine names it. */
private[canton] final class KnownKey(val info: KeyInfo) {
  val name: String = s"id:${info.id}"
  val nameBytes: Array[Byte] = Engine.name(name)
}

/** Canton's key ids. The driver gives out hex of the CKA_ID, the same on every replica. Keys that were made before may
  * also be named by their label or by an RFC 7512 URI; a name that fits several keys is an error. What was found is
  * remembered: an id keeps its key, and a label that leads elsewhere now is looked up again when the old key is gone.
  */
private[canton] final class KeyNames(engine: Engine) {
  private val known = new ConcurrentHashMap[String, KnownKey]()

  def remembered(keyId: String): Option[KnownKey] = Option(known.get(keyId))

  def remember(keyId: String, info: KeyInfo): KnownKey = {
    val key = new KnownKey(info)
    if (known.size >= KeyNames.Most) known.clear()
    known.put(keyId, key)
    key
  }

  def forget(keyId: String): Unit = {
    known.remove(keyId)
    ()
  }

  def find(keyId: String): CompletableFuture[KnownKey] =
    lookUp(keyId, engine.find).thenApply[KnownKey](info => remember(keyId, info))

  /** In the tokens, not from memory: somebody else may have deleted it. Where a slot is away that may hold it, that is
    * the failure.
    */
  def findNow(keyId: String): CompletableFuture[KnownKey] =
    orNone(lookUp(keyId, engine.look)).thenCompose[KnownKey] {
      case Some(info) => CompletableFuture.completedFuture(remember(keyId, info))
      case None =>
        forget(keyId)
        if (engine.slots.asScala.forall(_.connected))
          throw HsmuxException.of(Status.KEY_NOT_FOUND, "no slot holds such a key")
        else find(keyId)
    }

  private def lookUp(keyId: String, ask: String => CompletableFuture[KeyInfo]): CompletableFuture[KeyInfo] = {
    val hex = keyId.toLowerCase(Locale.ROOT)
    if (keyId.startsWith("id:") || keyId.startsWith("pkcs11:") || !KeyNames.isHex(hex)) ask(keyId)
    else if (hex.length >= KeyNames.OwnIdDigits) ask(s"id:$hex")
    else {
      // Short hex may be a label too.
      val byId = orNone(ask(s"id:$hex"))
      val byLabel = orNone(ask(keyId))
      byId.thenCombine[Option[KeyInfo], KeyInfo](
        byLabel,
        {
          case (Some(one), Some(other)) if one.id != other.id =>
            throw HsmuxException.of(
              Status.KEY_AMBIGUOUS,
              s"'$keyId' is the id of one key and the label of another: name it id:$hex, or the other by its id",
            )
          case (one, other) =>
            one.orElse(other).getOrElse(throw HsmuxException.of(Status.KEY_NOT_FOUND, s"no key has the id or label '$keyId'"))
        },
      )
    }
  }

  private def orNone(found: CompletableFuture[KeyInfo]): CompletableFuture[Option[KeyInfo]] =
    found.handle[Option[KeyInfo]] {
      case (info, null) => Some(info)
      case (_, failure) =>
        val cause = failure match {
          case wrapped: CompletionException => wrapped.getCause
          case other => other
        }
        cause match {
          case missing: HsmuxException if missing.status == Status.KEY_NOT_FOUND => None
          case other => throw other
        }
    }
}

private[canton] object KeyNames {
  private val Most = 10000 // ids come from callers: bounded
  private val OwnIdDigits = 32 // hsmux's ids have 16 bytes

  /** Of the API: String300. */
  val LongestId = 300

  private def isHex(text: String): Boolean =
    text.nonEmpty && text.length % 2 == 0 && text.forall(c => (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))

  /** A key's label: `keyName` describes and does not identify. Tokens take no control characters, and not every length.
    */
  def label(keyName: Option[String]): String = {
    val plain = keyName.getOrElse("").map(c => if (c < ' ' || c == '\u007f' || Character.isSurrogate(c)) '_' else c)
    val bounded = plain.foldLeft(new StringBuilder)((text, c) =>
      if ((text.toString + c).getBytes("UTF-8").length > LongestId) text else text.append(c)
    )
    if (bounded.isEmpty) "canton"
    else if (plain.startsWith("id:") || plain.startsWith("pkcs11:")) s"_${bounded.toString.drop(1)}"
    else bounded.toString
  }
}
