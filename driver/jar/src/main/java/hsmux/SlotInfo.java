package hsmux;

import java.util.ArrayList;
import java.util.List;

/**
 * A slot as the engine knows it now.
 *
 * @param connected logged in, its sessions usable
 * @param usable takes requests, if need be as the last one
 * @param algorithms that it carries out, of those that were tried there
 * @param reason why it is not healthy; empty when it is
 */
public record SlotInfo(
    String name, State state, boolean connected, boolean usable, List<String> algorithms, String reason) {
  /** {@code hsmux_slot_state}, in its order. */
  public enum State {
    HEALTHY,
    /** Failures of late: others are preferred until a canary has told. */
    SUSPECT,
    /** Not connected, or its canary fails. */
    EJECTED,
    /** Back again: gets few requests at first. */
    PROBING,
    /** An operator wants no requests there. */
    DRAINING,
    /** A PIN was refused or withheld: an operator must act. */
    LATCHED
  }

  static List<SlotInfo> parse(String slots) {
    List<SlotInfo> parsed = new ArrayList<>();
    for (String slot : slots.split("\u001e")) {
      if (slot.isEmpty()) continue;
      String[] fields = slot.split("\u001f", -1);
      State[] states = State.values();
      parsed.add(
          new SlotInfo(
              fields[0],
              states[Math.min(Integer.parseInt(fields[1]), states.length - 1)],
              fields[2].equals("1"),
              fields[3].equals("1"),
              fields[4].isEmpty() ? List.of() : List.of(fields[4].split(",")),
              fields[5]));
    }
    return List.copyOf(parsed);
  }
}
