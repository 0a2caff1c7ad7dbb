package hsmux.canton

import scala.concurrent.duration.FiniteDuration

/** An inline configuration as the text that the engine reads (docs/configuration.md). */
private[canton] object EngineToml {

  /** @param algorithms
    *   that are tried at start; all others are not offered
    * @param lendPin
    *   a descriptor from which the engine reads a PIN that stands in the node's configuration
    */
  def text(config: EngineConfig.Inline, algorithms: Seq[String], lendPin: PinValue => Int): String = {
    val lines = Seq.newBuilder[String]
    lines += algorithms.map(string).mkString("algorithms = [", ", ", "]")
    config.modules.toSeq.sortBy(_._1).foreach { case (name, module) =>
      lines += s"[module.${string(name)}]"
      lines += line("path", module.path)
      if (module.environment.nonEmpty) {
        val variables = module.environment.toSeq.sorted.map { case (key, value) => s"${string(key)} = ${string(value)}" }
        lines += variables.mkString("environment = { ", ", ", " }")
      }
      lines ++= module.initArgs.map(line("init_args", _))
      lines ++= module.locks.map(line("locks", _))
      lines ++= module.initTimeout.map(milliseconds("init_timeout_ms", _))
    }
    config.slots.foreach { slot =>
      lines += "[[slot]]"
      lines += line("name", slot.name)
      lines ++= slot.module.map(line("module", _))
      lines ++= slot.tokenLabel.map(line("token_label", _))
      lines ++= slot.serial.map(line("serial", _))
      lines ++= slot.slotId.map(id => s"slot_id = $id")
      lines ++= slot.uri.map(line("uri", _))
      lines ++= slot.pin.map {
        case PinConfig.File(path, group) => s"pin = { file = ${string(path)}, allow_group_read = $group }"
        case PinConfig.Environment(variable) => s"pin = { env = ${string(variable)} }"
        case PinConfig.Value(value) => s"pin = { fd = ${lendPin(value)} }"
      }
      lines ++= slot.allowPinCountLow.map(allow => s"allow_pin_count_low = $allow")
      lines ++= slot.sessionsMin.map(number => s"sessions_min = $number")
      lines ++= slot.sessionsMax.map(number => s"sessions_max = $number")
      lines ++= slot.concurrencyMin.map(number => s"concurrency_min = $number")
      lines ++= slot.concurrencyMax.map(number => s"concurrency_max = $number")
      lines ++= slot.weight.map(weight => s"weight = ${BigDecimal(weight).bigDecimal.toPlainString}")
      lines ++= slot.sessionCopies.map(line("session_copies", _))
      lines ++= slot.readWrite.map(readWrite => s"read_write = $readWrite")
    }
    lines += "[deadlines]"
    lines ++= config.operationDeadline.map(milliseconds("operation_ms", _))
    lines ++= config.keyGenerationDeadline.map(milliseconds("key_generation_ms", _))
    lines += "[submit]"
    lines ++= config.inFlightMax.map(number => s"in_flight_max = $number")
    lines ++= config.attemptLimit.map(milliseconds("attempt_limit_ms", _))
    lines += "[keys]"
    lines ++= config.keyPolicy.map(line("policy", _))
    lines ++= config.trustedKey.map(line("trusted_key", _))
    lines ++= config.transportBits.map(bits => s"transport_bits = $bits")
    lines += s"development_software_keys = ${config.developmentSoftwareKeys}"
    lines.result().mkString("", "\n", "\n")
  }

  private def line(key: String, value: String): String = s"$key = ${string(value)}"

  private def milliseconds(key: String, duration: FiniteDuration): String = s"$key = ${duration.toMillis}"

  /** A basic string of TOML: everything that is not plain is escaped. */
  private def string(text: String): String =
    text.flatMap {
      case '"' => "\\\""
      case '\\' => "\\\\"
      case c if c < ' ' || c == '\u007f' => f"\\u${c.toInt}%04x"
      case c => c.toString
    }.mkString("\"", "", "\"")
}
