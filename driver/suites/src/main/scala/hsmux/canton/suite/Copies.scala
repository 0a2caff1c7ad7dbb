package hsmux.canton.suite

import java.io.File
import java.lang.reflect.{InvocationTargetException, Proxy}
import java.net.URLClassLoader
import java.nio.file.{Files, Path}
import java.time.Duration
import java.util.Optional
import java.util.concurrent.{CompletableFuture, TimeUnit}

/** Copies of the driver's jar, each in a class loader of its own, used by reflection. */
object Copies {
  private val classPath = System.getProperty("java.class.path").split(File.pathSeparator).toSeq.map(Path.of(_))
  val jar: Path = classPath.find(_.getFileName.toString == "hsmux-canton-driver.jar").get

  private val platform = ClassLoader.getPlatformClassLoader
  private val host = new URLClassLoader(classPath.filter(_ != jar).map(_.toUri.toURL).toArray, platform)

  final class Copy(jar: Path) {
    private val loader = new URLClassLoader(Array(jar.toUri.toURL), host)
    private val engineClass = loader.loadClass("hsmux.Engine")

    private def unwrapped[A](work: => A): A =
      try work
      catch { case e: InvocationTargetException => throw e.getCause }

    /** Loads the native library. */
    def version: String = unwrapped(engineClass.getMethod("version").invoke(null).asInstanceOf[String])

    def open(toml: String): AutoCloseable = {
      val sink = Proxy.newProxyInstance(loader, Array(loader.loadClass("hsmux.LogSink")), (_, _, _) => null)
      val options = loader
        .loadClass("hsmux.EngineOptions")
        .getConstructors
        .head
        .newInstance(
          Optional.empty[String],
          Optional.of(toml),
          ".",
          java.util.List.of(),
          Integer.valueOf(0),
          Duration.ofSeconds(30),
          sink,
        )
      val open = engineClass.getMethod("open", options.getClass)
      unwrapped(open.invoke(null, options.asInstanceOf[AnyRef])).asInstanceOf[AutoCloseable]
    }

    def encrypt(engine: AutoCloseable, key: String, data: Array[Byte]): Array[Byte] =
      engineClass
        .getMethod("encrypt", classOf[String], classOf[String], classOf[Array[Byte]])
        .invoke(engine, key, "aes-256-gcm", data)
        .asInstanceOf[CompletableFuture[Array[Byte]]]
        .get(30, TimeUnit.SECONDS)
  }

  def copy(): Copy = new Copy(Files.copy(jar, Files.createTempDirectory(Tokens.folder, "jar").resolve("copy.jar")))
}
