package hsmux.canton.suite

import com.typesafe.config.ConfigFactory

import java.net.UnixDomainSocketAddress
import java.nio.ByteBuffer
import java.nio.channels.SocketChannel
import java.nio.charset.StandardCharsets.UTF_8

/** The simulated HSMs of this JVM (docs/simhsm.md), whose tokens are sim-0 and sim-1. */
object Simulator {
  private def ask(request: String): String = {
    val socket = SocketChannel.open(UnixDomainSocketAddress.of(sys.env("HSMUX_SIM_SOCKET")))
    try {
      socket.write(ByteBuffer.wrap(s"$request\n".getBytes(UTF_8)))
      val answer = new StringBuilder
      val buffer = ByteBuffer.allocate(65536)
      while (!answer.endsWith("\n") && socket.read(buffer) >= 0) {
        answer.append(new String(buffer.array, 0, buffer.position(), UTF_8))
        buffer.clear()
      }
      if (!ConfigFactory.parseString(answer.toString).getBoolean("ok")) throw new AssertionError(s"$request: $answer")
      answer.toString
    } finally socket.close()
  }

  private def quoted(text: String): String =
    text.flatMap { case '"' => "\\\""; case '\\' => "\\\\"; case '\n' => "\\n"; case c => c.toString }.mkString("\"", "", "\"")

  def apply(settings: String): Unit = { ask(s"""{"command":"apply","settings":${quoted(settings)}}"""); () }
  def play(action: String, slot: String): Unit = { ask(s"""{"command":"play","action":"$action","slot":"$slot"}"""); () }
  def release(): Unit = { ask("""{"command":"release"}"""); () }
  def reset(): Unit = { ask("""{"command":"reset"}"""); () }

  /** Open now on the token with that label. */
  def sessions(label: String): Int =
    ConfigFactory
      .parseString(ask("""{"command":"status"}"""))
      .getConfigList("status.slots")
      .stream
      .filter(_.getString("label") == label)
      .mapToInt(_.getInt("sessions"))
      .sum

  def slot(label: String, extra: String = ""): String =
    s"""{ name = $label, token-label = $label, session-copies = off, pin { value = "1234" } $extra }"""

  def hocon(labels: Seq[String] = Seq("sim-0", "sim-1"), extra: String = ""): String =
    s"""modules { sim { path = "${sys.env("HSMUX_SIMHSM")}" } }
       |slots = [ ${labels.map(slot(_)).mkString(", ")} ]
       |development-software-keys = true, keys { transport-bits = 2048 }
       |$extra
       |""".stripMargin
}
