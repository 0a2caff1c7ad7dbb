package hsmux.canton.suite

import java.nio.file.attribute.PosixFilePermissions
import java.nio.file.{FileSystems, Files, Path, StandardOpenOption}
import scala.jdk.CollectionConverters._

/** How the native library gets out of the jar. */
class NativeSuite extends DriverSpec {
  private val property = "hsmux.native.dir"
  private def folder(mode: String): Path = {
    val made = Files.createTempDirectory(Tokens.folder, "native")
    Files.setPosixFilePermissions(made, PosixFilePermissions.fromString(mode))
  }
  private def files(in: Path): Seq[String] = {
    val all = Files.list(in)
    try all.iterator.asScala.map(_.getFileName.toString).filter(_.startsWith("hsmux-")).toSeq
    finally all.close()
  }
  private def within[A](path: Path)(work: => A): A = {
    System.setProperty(property, path.toString)
    try work
    finally { System.clearProperty(property); () }
  }

  "The native library" should {
    "leave nothing behind where it was unpacked" in {
      val temporary = Path.of(System.getProperty("java.io.tmpdir"))
      val before = files(temporary).toSet
      Copies.copy().version shouldBe "0.1.0"
      val mine = files(temporary).filterNot(before).filter(name => Files.isDirectory(temporary.resolve(name)))
      mine.filter(name => Files.exists(temporary.resolve(name).resolve("libhsmux_jni.so"))) shouldBe empty
    }
    "be unpacked into a folder that the operator names" in {
      val named = folder("rwx------")
      within(named)(Copies.copy().version) shouldBe "0.1.0"
      files(named) shouldBe empty
    }
    "not be unpacked where others could put another in its place" in {
      Seq("rwxrwx---", "rwx---rwx").foreach { mode =>
        intercept[UnsatisfiedLinkError](within(folder(mode))(Copies.copy().version)).getMessage should include("chmod go-w")
      }
      val inside = Files.createDirectory(folder("rwxrwxrwx").resolve("inside"))
      intercept[UnsatisfiedLinkError](within(inside)(Copies.copy().version)).getMessage should include("chmod go-w")
      intercept[UnsatisfiedLinkError](within(Path.of("/nowhere/at/all"))(Copies.copy().version)).getMessage should include(property)
    }
    "not be loaded when it is not the file that was built" in {
      val bad = Files.copy(Copies.jar, folder("rwx------").resolve("bad.jar"))
      val jar = FileSystems.newFileSystem(bad)
      Files.write(jar.getPath("META-INF/hsmux/native/linux-x86_64/libhsmux_jni.so"), Array[Byte](0), StandardOpenOption.APPEND)
      jar.close()
      intercept[UnsatisfiedLinkError](new Copies.Copy(bad).version).getMessage should include("not the file that was built")
    }
    "work in two copies of the jar at once, on one token" in {
      val text = Files.readString(Tokens.folder.resolve("hsmux.toml")).replace("\"pins/", s"\"${Tokens.folder}/pins/")
      val (one, other) = (Copies.copy(), Copies.copy())
      val (first, second) = (one.open(text), other.open(text))
      try
        withDriver(Tokens.hocon(Seq("hsmux-0"))) { driver =>
          val id = get(driver.generateSymmetricKey(None)(root))
          Seq(one.encrypt(first, s"id:$id", message), other.encrypt(second, s"id:$id", message)).foreach { encrypted =>
            get(driver.decryptSymmetric(encrypted, id)(root)) shouldBe message
          }
        }
      finally { first.close(); second.close() }
    }
  }
}
