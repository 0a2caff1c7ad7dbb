package hsmux.canton

import pureconfig.ConfigReader.Result
import pureconfig.error.{CannotConvert, ConfigReaderFailures, UnknownKey}
import pureconfig.{ConfigObjectCursor, ConfigReader}

/** The keys of one object of the configuration, read one by one; those that are left over are errors. One thread. */
private[canton] final class Fields(cursor: ConfigObjectCursor, known: Seq[String]) {

  /** Fails when a key is not one of `known`. */
  def check: Result[Unit] = {
    val unknown = cursor.keys.toSeq.sorted.filterNot(known.contains)
    unknown.map(key => cursor.atKeyOrUndefined(key).failureFor(UnknownKey(key))).toList match {
      case first :: rest => Left(ConfigReaderFailures(first, rest: _*))
      case Nil => Right(())
    }
  }

  def has(key: String): Boolean = !cursor.atKeyOrUndefined(key).isUndefined

  def required[A](key: String)(implicit reader: ConfigReader[A]): Result[A] =
    cursor.atKey(key).flatMap(reader.from)

  def optional[A](key: String)(implicit reader: ConfigReader[A]): Result[Option[A]] = {
    val at = cursor.atKeyOrUndefined(key)
    if (at.isUndefined || at.isNull) Right(None) else reader.from(at).map(Some(_))
  }

  def orElse[A](key: String, default: A)(implicit reader: ConfigReader[A]): Result[A] =
    optional[A](key).map(_.getOrElse(default))

  def wrong[A](what: String): Result[A] = cursor.failed(CannotConvert("the object", "hsmux's configuration", what))

  def wrongAt[A](key: String, what: String): Result[A] =
    cursor.atKeyOrUndefined(key).failed(CannotConvert(key, "a setting of hsmux", what))

  /** `key`, within `least` to `most`. */
  def number[A](key: String, least: A, most: A)(implicit reader: ConfigReader[A], order: Ordering[A]): Result[Option[A]] =
    optional[A](key).flatMap {
      case Some(value) if order.lt(value, least) || order.gt(value, most) =>
        wrongAt(key, s"$value is not allowed: $least to $most")
      case value => Right(value)
    }

  def oneOf(key: String, allowed: Seq[String]): Result[Option[String]] =
    optional[String](key).flatMap {
      case Some(value) if !allowed.contains(value) =>
        wrongAt(key, s"'$value' is not allowed: ${allowed.mkString(", ")}")
      case value => Right(value)
    }
}

private[canton] object Fields {
  def reader[A](known: String*)(read: Fields => Result[A]): ConfigReader[A] =
    ConfigReader.fromCursor { cursor =>
      for {
        obj <- cursor.asObjectCursor
        fields = new Fields(obj, known)
        _ <- fields.check
        value <- read(fields)
      } yield value
    }
}
