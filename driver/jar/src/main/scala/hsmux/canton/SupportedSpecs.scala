package hsmux.canton

import hsmux.SlotInfo

import java.util.concurrent.atomic.AtomicReference

/** Which specs are reported to Canton, which refuses all others before the driver is asked.
  *
  * A spec is reported when it is configured, or else when slots that have been seen carry it out, and in both cases only
  * if a key of it can be where its placement wants it. What was reported once stays, whichever slot goes down. Any
  * thread.
  */
private[canton] final class SupportedSpecs(config: DriverConfig) {
  private case class Seen(able: Map[String, Set[String]], slots: Set[String], reported: Set[String])
  private val seen = new AtomicReference(Seen(Map.empty, Set.empty, Set.empty))

  /** Takes in what the slots show now. */
  def see(slots: Seq[SlotInfo]): Unit = {
    seen.updateAndGet { before =>
      val ready = slots.filter(_.connected)
      val able = Specs.all.map { spec =>
        spec.name -> (before.able.getOrElse(spec.name, Set.empty) ++
          ready.filter(_.algorithms.contains(spec.algorithm)).map(_.name))
      }.toMap
      val known = before.slots ++ ready.map(_.name)
      val now = Specs.all.map(_.name).filter(name => holds(name, able(name), known, slots.map(_.name)))
      Seen(able, known, before.reported ++ now)
    }
    ()
  }

  def reports(spec: Spec): Boolean = seen.get.reported(spec.name)

  def reported: Seq[Spec] = Specs.all.filter(reports)

  // A slot that was never seen is taken to be like the others.
  private def holds(name: String, able: Set[String], known: Set[String], all: Seq[String]): Boolean = {
    val places = placementOf(name) match {
      case Placement.Slots(names) => all.filter(names.contains)
      case _ => all
    }
    val needed = placementOf(name) match {
      case Placement.Quorum(slots) => slots
      case _ => places.size
    }
    val possible = places.count(slot => able(slot) || !known(slot))
    config.specs match {
      case Some(names) => names.contains(name) && possible >= needed
      case None => able.nonEmpty && possible >= needed && (needed == 1 || canBeReplicated(name))
    }
  }

  def placementOf(name: String): Placement =
    config.placement.get(name).orElse(config.defaultPlacement).getOrElse(Placement.All)

  // Keys reach several slots by wrapping, which tokens refuse for Edwards keys; or, in development, by import.
  private def canBeReplicated(name: String): Boolean =
    !name.startsWith("ec-curve25519") || (config.engine match {
      case inline: EngineConfig.Inline => inline.developmentSoftwareKeys
      case EngineConfig.File(_) => true // unknown: making such a key says why it cannot
    })
}
