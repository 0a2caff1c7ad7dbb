package hsmux.canton.suite

import com.digitalasset.canton.crypto.kms.driver.api.v1._
import com.typesafe.config.{ConfigFactory, ConfigValue}
import org.slf4j.{Logger, LoggerFactory}

import java.nio.file.{Files, Path}
import java.util.ServiceLoader
import scala.concurrent.ExecutionContext
import scala.jdk.CollectionConverters._

/** The tokens that `run` made for this JVM, and drivers on them, loaded as Canton does. */
object Tokens {
  val folder: Path = Path.of(sys.env("HSMUX_TOKENS"))
  val api: String = sys.env("HSMUX_API")
  val softhsm: String = "libsofthsm2.so"
  val labels: Seq[String] = Seq("hsmux-0", "hsmux-1", "hsmux-2")

  def pin(label: String): String = Files.readString(folder.resolve("pins").resolve(s"$label.pin")).trim

  def factory: KmsDriverFactory =
    ServiceLoader
      .load(classOf[KmsDriverFactory], Thread.currentThread.getContextClassLoader)
      .asScala
      .find(_.name == "hsmux")
      .getOrElse(throw new AssertionError("no driver named hsmux"))

  def slot(label: String, extra: String = ""): String =
    s"""{ name = $label, token-label = $label, pin { file = "${folder.resolve("pins").resolve(label)}.pin" }, $extra }"""

  def module(path: String = softhsmPath): String = s"""modules { softhsm { path = "$path", environment { SOFTHSM2_CONF = "${sys.env("SOFTHSM2_CONF")}" } } }"""

  lazy val softhsmPath: String = {
    val line = Files.readAllLines(folder.resolve("hsmux.toml")).asScala.find(_.startsWith("path = "))
    line.fold(softhsm)(_.stripPrefix("path = ").stripPrefix("'").stripSuffix("'").stripPrefix("\"").stripSuffix("\""))
  }

  def hocon(labels: Seq[String], extra: String = ""): String =
    s"""${module()}
       |slots = [ ${labels.map(slot(_)).mkString(", ")} ]
       |$extra
       |""".stripMargin

  def value(hocon: String): ConfigValue = ConfigFactory.parseString(hocon).resolve.root

  /** As Canton's loader: read, then create. */
  def driver(
      hocon: String,
      loggers: Class[_] => Logger = LoggerFactory.getLogger(_),
      executionContext: ExecutionContext = ExecutionContext.global,
  ): KmsDriver = {
    val made = factory
    val config = made.configReader.from(value(hocon)) match {
      case Right(config) => config
      case Left(failures) => throw new AssertionError(failures.prettyPrint())
    }
    made.create(config, loggers, executionContext)
  }
}
