package hsmux.canton

import pureconfig.ConfigReader
import pureconfig.ConfigReader.Result
import pureconfig.error.CannotConvert

import scala.concurrent.duration.{DurationInt, FiniteDuration}

/** Reads `crypto.kms.config`. Every key is known or an error; ranges are those of docs/configuration.md. */
private[canton] object DriverConfigReader {
  private val LongestMs = 3600.seconds
  private val SlotsMax = 64
  private val SessionsMax = 4096
  private val Names = "[A-Za-z0-9_.-]{1,32}"

  // No PIN is ever in a message: pureconfig puts values that it cannot convert into its own.
  private implicit val pinValue: ConfigReader[PinValue] = ConfigReader.fromCursor { cursor =>
    cursor.asString match {
      case Right(text) if text.nonEmpty => Right(new PinValue(text))
      case _ => cursor.failed(CannotConvert(PinValue.Redacted, "a PIN", "a PIN is a string that is not empty: quote it"))
    }
  }

  private implicit val pin: ConfigReader[PinConfig] =
    Fields.reader[PinConfig]("file", "allow-group-read", "env", "value") { fields =>
      val sources = Seq("file", "env", "value").filter(fields.has)
      sources match {
        case Seq("file") =>
          for {
            path <- fields.required[String]("file")
            group <- fields.orElse("allow-group-read", false)
          } yield PinConfig.File(path, group)
        case _ if fields.has("allow-group-read") => fields.wrongAt("allow-group-read", "only with file")
        case Seq("env") => fields.required[String]("env").map(PinConfig.Environment)
        case Seq("value") => fields.required[PinValue]("value").map(PinConfig.Value)
        case _ => fields.wrong("exactly one of file, env and value says where the PIN is")
      }
    }

  private implicit val module: ConfigReader[ModuleConfig] =
    Fields.reader("path", "environment", "init-args", "locks", "init-timeout") { fields =>
      for {
        path <- fields.required[String]("path")
        environment <- fields.orElse("environment", Map.empty[String, String])
        arguments <- fields.optional[String]("init-args")
        locks <- fields.oneOf("locks", Seq("auto", "os", "engine"))
        timeout <- fields.number[FiniteDuration]("init-timeout", 1.milli, 600.seconds)
      } yield ModuleConfig(path, environment, arguments, locks, timeout)
    }

  private implicit val slot: ConfigReader[SlotConfig] =
    Fields.reader(
      "name",
      "module",
      "token-label",
      "serial",
      "slot-id",
      "uri",
      "pin",
      "allow-pin-count-low",
      "sessions-min",
      "sessions-max",
      "concurrency-min",
      "concurrency-max",
      "weight",
      "session-copies",
      "read-write",
    ) { fields =>
      for {
        name <- fields.required[String]("name")
        _ <- if (name.matches(Names)) Right(()) else fields.wrongAt("name", "1 to 32 of A-Z a-z 0-9 _ . -")
        module <- fields.optional[String]("module")
        label <- fields.optional[String]("token-label")
        serial <- fields.optional[String]("serial")
        id <- fields.number[Long]("slot-id", 0L, Long.MaxValue)
        uri <- fields.optional[String]("uri")
        _ <-
          if (label.isEmpty && serial.isEmpty && id.isEmpty && uri.isEmpty)
            fields.wrong[Unit]("a slot has at least one of token-label, serial, slot-id and uri")
          else Right(())
        pin <- fields.optional[PinConfig]("pin")
        countLow <- fields.optional[Boolean]("allow-pin-count-low")
        sessionsMin <- fields.number[Int]("sessions-min", 0, SessionsMax)
        sessionsMax <- fields.number[Int]("sessions-max", 1, SessionsMax)
        concurrencyMin <- fields.number[Int]("concurrency-min", 1, SessionsMax)
        concurrencyMax <- fields.number[Int]("concurrency-max", 1, SessionsMax)
        weight <- fields.optional[Double]("weight")
        copies <- fields.oneOf("session-copies", Seq("auto", "on", "off"))
        readWrite <- fields.optional[Boolean]("read-write")
      } yield SlotConfig(
        name,
        module,
        label,
        serial,
        id,
        uri,
        pin,
        countLow,
        sessionsMin,
        sessionsMax,
        concurrencyMin,
        concurrencyMax,
        weight,
        copies,
        readWrite,
      )
    }

  // all | [hsm-a, hsm-b] | { quorum = 2 }
  private implicit val placement: ConfigReader[Placement] = ConfigReader.fromCursor { cursor =>
    cursor.asString match {
      case Right("all") => Right(Placement.All)
      case Right(other) =>
        cursor.failed(CannotConvert(other, "a placement", "all, a list of slots, or { quorum = N }"))
      case Left(_) =>
        cursor.asListCursor match {
          case Right(_) =>
            ConfigReader[List[String]].from(cursor).flatMap { names =>
              if (names.isEmpty) cursor.failed(CannotConvert("[]", "a placement", "no slot is named"))
              else Right(Placement.Slots(names))
            }
          case Left(_) =>
            Fields
              .reader[Placement]("quorum") { fields =>
                fields.number[Int]("quorum", 1, SlotsMax).flatMap {
                  case Some(slots) => Right(Placement.Quorum(slots))
                  case None => fields.wrong("all, a list of slots, or { quorum = N }")
                }
              }
              .from(cursor)
        }
    }
  }

  // One placement for all, or an object of them by spec with `default` for the others.
  private type Placements = (Option[Placement], Map[String, Placement])
  private val placements: ConfigReader[Placements] = ConfigReader.fromCursor { cursor =>
    cursor.asObjectCursor match {
      case Right(obj) if !obj.keys.exists(_ == "quorum") =>
        Fields
          .reader[Placements]("default" +: Specs.names: _*) { fields =>
            Specs.names.foldLeft[Result[Placements]](fields.optional[Placement]("default").map(_ -> Map.empty)) {
              (read, name) =>
                for {
                  known <- read
                  here <- fields.optional[Placement](name)
                } yield known.copy(_2 = known._2 ++ here.map(name -> _))
            }
          }
          .from(cursor)
      case _ => placement.from(cursor).map(one => (Some(one), Map.empty))
    }
  }

  private val specNames: ConfigReader[List[String]] = ConfigReader.fromCursor { cursor =>
    ConfigReader[List[String]].from(cursor).flatMap { names =>
      names.find(name => !Specs.names.contains(name)) match {
        case Some(name) =>
          cursor.failed(CannotConvert(name, "a spec", s"known are ${Specs.names.mkString(", ")}"))
        case None if names.isEmpty => cursor.failed(CannotConvert("[]", "specs", "at least one"))
        case None => Right(names.distinct)
      }
    }
  }

  private val engineKeys = Seq("modules", "slots", "deadlines", "submit", "keys", "development-software-keys")

  private def inline(fields: Fields): Result[EngineConfig] =
    for {
      modules <- fields.required[Map[String, ModuleConfig]]("modules")
      slots <- fields.required[List[SlotConfig]]("slots")
      _ <-
        if (modules.isEmpty) fields.wrongAt[Unit]("modules", "at least one module")
        else if (slots.isEmpty || slots.size > SlotsMax) fields.wrongAt[Unit]("slots", s"1 to $SlotsMax slots")
        else Right(())
      // The engine says the same by line of a text that the operator never sees.
      _ <- slots.flatMap(_.module).find(!modules.contains(_)) match {
        case Some(name) => fields.wrongAt[Unit]("slots", s"there is no module '$name' in modules")
        case None if modules.size > 1 && slots.exists(_.module.isEmpty) =>
          fields.wrongAt[Unit]("slots", "every slot names its module, since there are several")
        case None => Right(())
      }
      _ <- slots.map(_.name).diff(slots.map(_.name).distinct).headOption match {
        case Some(name) => fields.wrongAt[Unit]("slots", s"two slots are named '$name'")
        case None => Right(())
      }
      deadlines <- fields.orElse("deadlines", (Option.empty[FiniteDuration], Option.empty[FiniteDuration]))(
        Fields.reader("operation", "key-generation") { inner =>
          for {
            operation <- inner.number[FiniteDuration]("operation", 1.milli, LongestMs)
            generation <- inner.number[FiniteDuration]("key-generation", 1.milli, LongestMs)
          } yield (operation, generation)
        }
      )
      submit <- fields.orElse("submit", (Option.empty[Int], Option.empty[FiniteDuration]))(
        Fields.reader("in-flight-max", "attempt-limit") { inner =>
          for {
            most <- inner.number[Int]("in-flight-max", 1, 1000000)
            limit <- inner.number[FiniteDuration]("attempt-limit", 1.milli, LongestMs)
          } yield (most, limit)
        }
      )
      keys <- fields.orElse("keys", (Option.empty[String], Option.empty[String], Option.empty[Int]))(
        Fields.reader("policy", "trusted-key", "transport-bits") { inner =>
          for {
            policy <- inner.oneOf("policy", Seq("none", "trusted-wrap", "vendor"))
            trusted <- inner.optional[String]("trusted-key")
            bits <- inner.number[Int]("transport-bits", 2048, 4096)
          } yield (policy, trusted, bits)
        }
      )
      development <- fields.orElse("development-software-keys", false)
    } yield EngineConfig.Inline(
      modules,
      slots,
      deadlines._1,
      deadlines._2,
      submit._1,
      submit._2,
      keys._1,
      keys._2,
      keys._3,
      development,
    )

  private def engine(fields: Fields): Result[EngineConfig] =
    fields.optional[String]("config-file").flatMap {
      case None => inline(fields)
      case Some(path) =>
        engineKeys.find(fields.has) match {
          case Some(key) => fields.wrongAt(key, "stands in the config-file, not beside it")
          case None => Right(EngineConfig.File(path))
        }
    }

  // Slots that placements name are known here only where they are inline; the engine checks the others.
  private def checkPlacements(fields: Fields, engine: EngineConfig, all: Placements): Result[Unit] =
    engine match {
      case EngineConfig.File(_) => Right(())
      case inline: EngineConfig.Inline =>
        val known = inline.slots.map(_.name)
        (all._1 ++ all._2.values)
          .collectFirst {
            case Placement.Slots(names) if names.exists(!known.contains(_)) =>
              s"there is no slot '${names.find(!known.contains(_)).mkString}'; slots are ${known.mkString(", ")}"
            case Placement.Quorum(most) if most > known.size => s"quorum $most is more than there are slots"
          } match {
          case Some(what) => fields.wrongAt("placement", what)
          case None => Right(())
        }
    }

  implicit val reader: ConfigReader[DriverConfig] =
    Fields.reader(
      engineKeys ++ Seq(
        "config-file",
        "specs",
        "symmetric-key",
        "placement",
        "min-slots-at-start",
        "connect-timeout",
        "close-timeout",
        "audit-log",
        "slow-operation",
        "metrics",
        "admin",
      ): _*
    ) { fields =>
      val defaults = DriverConfig(EngineConfig.File(""))
      for {
        engine <- engine(fields)
        specs <- fields.optional[List[String]]("specs")(specNames)
        symmetric <- fields.oneOf("symmetric-key", Specs.symmetric.map(_.name))
        placements <- fields.orElse[Placements]("placement", (None, Map.empty))(placements)
        _ <- checkPlacements(fields, engine, placements)
        slots <- fields.number[Int]("min-slots-at-start", 1, SlotsMax)
        _ <- engine match {
          case inline: EngineConfig.Inline if slots.exists(_ > inline.slots.size) =>
            fields.wrongAt[Unit]("min-slots-at-start", s"there are ${inline.slots.size} slots")
          case _ => Right(())
        }
        connect <- fields.number[FiniteDuration]("connect-timeout", 100.millis, 600.seconds)
        close <- fields.number[FiniteDuration]("close-timeout", 1.milli, 600.seconds)
        audit <- fields.orElse("audit-log", defaults.auditLog)
        slow <- fields.number[FiniteDuration]("slow-operation", 1.milli, LongestMs)
        _ <- Seq("metrics", "admin").find(fields.has) match {
          case Some(key) => fields.wrongAt[Unit](key, "this version of the driver does not offer it yet")
          case None => Right(())
        }
      } yield DriverConfig(
        engine,
        specs,
        symmetric.getOrElse(defaults.symmetricKey),
        placements._1,
        placements._2,
        slots.getOrElse(defaults.minSlotsAtStart),
        connect.getOrElse(defaults.connectTimeout),
        close.getOrElse(defaults.closeTimeout),
        audit,
        slow.getOrElse(defaults.slowOperation),
      )
    }
}
