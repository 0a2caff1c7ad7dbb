package hsmux.canton

import scala.concurrent.duration.{DurationInt, FiniteDuration}

/** A PIN that stands in the node's configuration. Prints redacted. */
final class PinValue(private[canton] val secret: String) {
  override def toString: String = PinValue.Redacted
  override def equals(other: Any): Boolean = other match {
    case that: PinValue => secret == that.secret
    case _ => false
  }
  override def hashCode: Int = 0 // not even that tells
}

object PinValue {
  val Redacted = "****"
}

sealed trait PinConfig
object PinConfig {
  final case class File(path: String, allowGroupRead: Boolean) extends PinConfig
  final case class Environment(variable: String) extends PinConfig
  final case class Value(value: PinValue) extends PinConfig
}

final case class ModuleConfig(
    path: String,
    environment: Map[String, String] = Map.empty,
    initArgs: Option[String] = None,
    locks: Option[String] = None,
    initTimeout: Option[FiniteDuration] = None,
)

/** As `[[slot]]` of docs/configuration.md, which also has the defaults of what is absent. */
final case class SlotConfig(
    name: String,
    module: Option[String] = None,
    tokenLabel: Option[String] = None,
    serial: Option[String] = None,
    slotId: Option[Long] = None,
    uri: Option[String] = None,
    pin: Option[PinConfig] = None,
    allowPinCountLow: Option[Boolean] = None,
    sessionsMin: Option[Int] = None,
    sessionsMax: Option[Int] = None,
    concurrencyMin: Option[Int] = None,
    concurrencyMax: Option[Int] = None,
    weight: Option[Double] = None,
    sessionCopies: Option[String] = None,
    readWrite: Option[Boolean] = None,
)

/** Where a new key is made. */
sealed trait Placement {

  /** As `slots` of hsmux_generate_request. */
  def text: String
}
object Placement {
  case object All extends Placement { val text = "all" }
  final case class Quorum(slots: Int) extends Placement { def text: String = s"quorum:$slots" }
  final case class Slots(names: Seq[String]) extends Placement { def text: String = names.mkString(",") }
}

/** What the engine is configured by. */
sealed trait EngineConfig
object EngineConfig {

  /** A TOML file (docs/configuration.md). */
  final case class File(path: String) extends EngineConfig

  final case class Inline(
      modules: Map[String, ModuleConfig],
      slots: Seq[SlotConfig],
      operationDeadline: Option[FiniteDuration] = None,
      keyGenerationDeadline: Option[FiniteDuration] = None,
      inFlightMax: Option[Int] = None,
      attemptLimit: Option[FiniteDuration] = None,
      keyPolicy: Option[String] = None,
      trustedKey: Option[String] = None,
      transportBits: Option[Int] = None,
      developmentSoftwareKeys: Boolean = false,
  ) extends EngineConfig
}

/** `crypto.kms.config` of a node: docs/canton.md.
  *
  * @param specs
  *   names of [[Specs]] that are reported to Canton; None: what the slots turn out to do
  * @param placement
  *   by name of a spec; what is not named has `defaultPlacement`
  */
final case class DriverConfig(
    engine: EngineConfig,
    specs: Option[Seq[String]] = None,
    symmetricKey: String = "aes-256",
    defaultPlacement: Option[Placement] = None,
    placement: Map[String, Placement] = Map.empty,
    minSlotsAtStart: Int = 1,
    connectTimeout: FiniteDuration = 30.seconds,
    closeTimeout: FiniteDuration = 5.seconds,
    auditLog: Boolean = false,
    slowOperation: FiniteDuration = 1.second,
)
