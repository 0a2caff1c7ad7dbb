package hsmux.canton

import com.typesafe.config.{ConfigValue, ConfigValueFactory}
import pureconfig.ConfigWriter

import scala.concurrent.duration.FiniteDuration
import scala.jdk.CollectionConverters._

/** Writes `crypto.kms.config`.
  *
  * @param confidential
  *   without anything secret: PINs, and what vendors' modules are given, which may hold passwords
  */
private[canton] final class DriverConfigWriter(confidential: Boolean) {
  val writer: ConfigWriter[DriverConfig] = ConfigWriter.fromFunction(write)

  private def value(any: Any): ConfigValue = ConfigValueFactory.fromAnyRef(plain(any))

  private def plain(any: Any): Any = any match {
    case map: Map[_, _] => map.map { case (key, inner) => key.toString -> plain(inner) }.asJava
    case seq: Seq[_] => seq.map(plain).asJava
    case duration: FiniteDuration => s"${duration.toNanos} ns"
    case other => other
  }

  // Keys without a value are left out.
  private def fields(all: (String, Any)*): Map[String, Any] = all.collect {
    case (key, Some(inner)) => key -> inner
    case (key, inner) if inner != None => key -> inner
  }.toMap

  private def secret(text: String): String = if (confidential) PinValue.Redacted else text

  private def pin(pin: PinConfig): Map[String, Any] = pin match {
    case PinConfig.File(path, group) => Map("file" -> path, "allow-group-read" -> group)
    case PinConfig.Environment(variable) => Map("env" -> variable)
    case PinConfig.Value(value) => Map("value" -> secret(value.secret))
  }

  private def module(module: ModuleConfig): Map[String, Any] = fields(
    "path" -> module.path,
    "environment" -> module.environment.map { case (key, inner) => key -> secret(inner) },
    "init-args" -> module.initArgs.map(secret),
    "locks" -> module.locks,
    "init-timeout" -> module.initTimeout,
  )

  private def slot(slot: SlotConfig): Map[String, Any] = fields(
    "name" -> slot.name,
    "module" -> slot.module,
    "token-label" -> slot.tokenLabel,
    "serial" -> slot.serial,
    "slot-id" -> slot.slotId,
    "uri" -> slot.uri,
    "pin" -> slot.pin.map(pin),
    "allow-pin-count-low" -> slot.allowPinCountLow,
    "sessions-min" -> slot.sessionsMin,
    "sessions-max" -> slot.sessionsMax,
    "concurrency-min" -> slot.concurrencyMin,
    "concurrency-max" -> slot.concurrencyMax,
    "weight" -> slot.weight,
    "session-copies" -> slot.sessionCopies,
    "read-write" -> slot.readWrite,
  )

  private def placement(placement: Placement): Any = placement match {
    case Placement.All => "all"
    case Placement.Quorum(slots) => Map("quorum" -> slots)
    case Placement.Slots(names) => names
  }

  private def engine(engine: EngineConfig): Map[String, Any] = engine match {
    case EngineConfig.File(path) => Map("config-file" -> path)
    case inline: EngineConfig.Inline =>
      fields(
        "modules" -> inline.modules.map { case (name, inner) => name -> module(inner) },
        "slots" -> inline.slots.map(slot),
        "deadlines" -> fields("operation" -> inline.operationDeadline, "key-generation" -> inline.keyGenerationDeadline),
        "submit" -> fields("in-flight-max" -> inline.inFlightMax, "attempt-limit" -> inline.attemptLimit),
        "keys" -> fields(
          "policy" -> inline.keyPolicy,
          "trusted-key" -> inline.trustedKey,
          "transport-bits" -> inline.transportBits,
        ),
        "development-software-keys" -> inline.developmentSoftwareKeys,
      )
  }

  private def write(config: DriverConfig): ConfigValue = value(
    engine(config.engine) ++ fields(
      "specs" -> config.specs,
      "symmetric-key" -> config.symmetricKey,
      "placement" -> (fields("default" -> config.defaultPlacement.map(placement)) ++
        config.placement.map { case (name, inner) => name -> placement(inner) }),
      "min-slots-at-start" -> config.minSlotsAtStart,
      "connect-timeout" -> config.connectTimeout,
      "close-timeout" -> config.closeTimeout,
      "audit-log" -> config.auditLog,
      "slow-operation" -> config.slowOperation,
    )
  )
}
