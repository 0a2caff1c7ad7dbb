package hsmux.canton

import com.digitalasset.canton.crypto.kms.driver.api.v1.KmsDriverHealth
import com.typesafe.config._
import org.slf4j.helpers.NOPLogger

import java.io.{File, PrintStream}
import scala.concurrent.ExecutionContext
import scala.concurrent.duration.Duration
import scala.concurrent.Await
import scala.jdk.CollectionConverters._
import scala.util.control.NonFatal

/** Tries the driver's configuration of a node without starting the node:
  *
  * {{{java -cp hsmux-canton-driver.jar:canton.jar hsmux.canton.Check canton.conf}}}
  *
  * For each node with this driver: reads its configuration, loads the modules, logs in, has each slot try each algorithm
  * with keys of the moment (nothing is left in a token), and tells health and which specs the node would get.
  */
object Check {
  private val Usage =
    """usage: java -cp hsmux-canton-driver.jar:canton.jar hsmux.canton.Check [--json] [--node NAME] CANTON.CONF...
      |  Tries the hsmux KMS driver of each node that the configuration has: load, login, every algorithm on every slot,
      |  health. Nothing is changed in a token. A wrong PIN costs one try, as starting the node would.
      |  --json        one JSON object
      |  --node NAME   only this node
      |exit status: 0 all well, 1 a node would not start or is not healthy, 2 wrong usage
      |example: java -cp hsmux-canton-driver.jar:canton.jar hsmux.canton.Check /etc/canton/canton.conf""".stripMargin

  final case class SlotRow(name: String, connected: Boolean, reason: String, algorithms: Set[String])
  final case class NodeResult(node: String, problem: Option[String], health: String, slots: Seq[SlotRow], specs: Seq[String]) {
    def well: Boolean = problem.isEmpty && health == "ok"
  }

  private final case class Options(json: Boolean = false, node: Option[String] = None, files: Seq[String] = Seq.empty)

  def main(arguments: Array[String]): Unit = sys.exit(run(arguments.toList, System.out, System.err))

  def run(arguments: List[String], out: PrintStream, err: PrintStream): Int =
    if (arguments.exists(argument => argument == "--help" || argument == "-h")) { out.println(Usage); 0 }
    else
      parse(arguments, Options()) match {
        case Left(problem) => err.println(s"hsmux.canton.Check: $problem"); err.println(Usage); 2
        case Right(options) =>
          nodes(options) match {
            case Left(problem) => err.println(s"hsmux.canton.Check: $problem"); 2
            case Right(found) =>
              val results = found.map { case (node, config) => check(node, config) }
              if (options.json) out.println(json(results)) else results.foreach(result => out.print(table(result)))
              if (results.forall(_.well)) 0 else 1
          }
      }

  private def parse(arguments: List[String], options: Options): Either[String, Options] = arguments match {
    case "--json" :: rest => parse(rest, options.copy(json = true))
    case "--node" :: name :: rest => parse(rest, options.copy(node = Some(name)))
    case option :: _ if option.startsWith("-") => Left(s"unknown option or missing value: $option")
    case file :: rest => parse(rest, options.copy(files = options.files :+ file))
    case Nil if options.files.isEmpty => Left("which configuration?")
    case Nil => Right(options)
  }

  // Later files win, as with Canton's -c.
  private def nodes(options: Options): Either[String, Seq[(String, ConfigValue)]] =
    try {
      val missing = options.files.filterNot(new File(_).isFile)
      if (missing.nonEmpty) Left(s"no such file: ${missing.mkString(", ")}")
      else {
        val config = options.files
          .map(file => ConfigFactory.parseFile(new File(file)))
          .foldLeft(ConfigFactory.empty)((before, later) => later.withFallback(before))
          .resolve
        val found = for {
          kind <- Seq("participants", "sequencers", "mediators")
          if config.hasPath(s"canton.$kind")
          node <- config.getObject(s"canton.$kind").keySet.asScala.toSeq.sorted
          if options.node.forall(_ == node)
          kms = ConfigUtil.joinPath("canton", kind, node, "crypto", "kms")
          if config.hasPath(kms) && text(config, s"$kms.type").contains("driver") && text(config, s"$kms.name").contains("hsmux")
        } yield node -> (if (config.hasPath(s"$kms.config")) config.getValue(s"$kms.config") else ConfigFactory.empty.root)
        if (found.isEmpty) Left("no node here has crypto.kms { type = driver, name = hsmux }") else Right(found)
      }
    } catch { case e: ConfigException => Left(e.getMessage) }

  private def text(config: Config, path: String): Option[String] =
    if (config.hasPath(path)) Some(config.getString(path)) else None

  private def check(node: String, value: ConfigValue): NodeResult = {
    def failed(problem: String) = NodeResult(node, Some(problem), "failed", Seq.empty, Seq.empty)
    DriverConfigReader.reader.from(value) match {
      case Left(failures) => failed(failures.prettyPrint())
      case Right(config) =>
        try {
          val driver = HsmuxKmsDriver.open(config, _ => NOPLogger.NOP_LOGGER, ExecutionContext.parasitic)
          try {
            val health = Await.result(driver.health, Duration.Inf) match { // it is there at once
              case KmsDriverHealth.Ok => "ok"
              case other => other.toString
            }
            val slots = driver.slots.map(slot => SlotRow(slot.name, slot.connected, slot.reason, slot.algorithms.asScala.toSet))
            NodeResult(node, None, health, slots, driver.reportedSpecs)
          } finally driver.close()
        } catch {
          case NonFatal(e) => failed(Option(e.getCause).getOrElse(e).getMessage)
          case e: UnsatisfiedLinkError => failed(e.getMessage)
        }
    }
  }

  private def table(result: NodeResult): String = {
    val lines = Seq.newBuilder[String]
    lines += s"node ${result.node}: ${result.problem.fold(result.health)(problem => s"FAILED: $problem")}"
    if (result.slots.nonEmpty) {
      val width = result.slots.map(_.name.length).max.max(4)
      lines += s"  ${"spec".padTo(14, ' ')}  ${"algorithm".padTo(22, ' ')}  ${result.slots.map(_.name.padTo(width, ' ')).mkString("  ")}  node"
      Specs.all.foreach { spec =>
        val cells = result.slots.map { slot =>
          (if (!slot.connected) "down" else if (slot.algorithms(spec.algorithm)) "yes" else "no").padTo(width, ' ')
        }
        val node = if (result.specs.contains(spec.name)) "yes" else "no"
        lines += s"  ${spec.name.padTo(14, ' ')}  ${spec.algorithm.padTo(22, ' ')}  ${cells.mkString("  ")}  $node"
      }
      result.slots.filter(_.reason.nonEmpty).foreach(slot => lines += s"  ${slot.name}: ${slot.reason}")
    }
    lines.result().mkString("", "\n", "\n")
  }

  private def json(results: Seq[NodeResult]): String = {
    val nodes = results.map { result =>
      Map[String, Any](
        "node" -> result.node,
        "well" -> result.well,
        "problem" -> result.problem.orNull,
        "health" -> result.health,
        "specs" -> result.specs.asJava,
        "slots" -> result.slots
          .map(slot =>
            Map[String, Any](
              "name" -> slot.name,
              "connected" -> slot.connected,
              "reason" -> slot.reason,
              "algorithms" -> slot.algorithms.toSeq.sorted.asJava,
            ).asJava
          )
          .asJava,
      ).asJava
    }
    ConfigValueFactory.fromMap(Map[String, Object]("nodes" -> nodes.asJava).asJava).render(ConfigRenderOptions.concise)
  }

}
