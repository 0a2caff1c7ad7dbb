package hsmux;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;

/**
 * Unpacks the native part from the jar into a fresh folder (0700), loads it, and removes the folder again. Each file's
 * SHA-256 must be the one that the jar's list of them has. The folder is made in java.io.tmpdir; or, where that is
 * read-only or mounted noexec, in the one that the system property {@code hsmux.native.dir} names, which must belong to
 * this user or to root and be writable by nobody else. A path of its own for each load lets several copies of the jar
 * work in one JVM.
 */
final class NativeLibrary {
  static final String FOLDER_PROPERTY = "hsmux.native.dir";
  private static final String LIBRARY = "libhsmux_jni.so";

  private NativeLibrary() {}

  static void load() {
    String root = "/META-INF/hsmux/native/" + platform() + "/";
    try {
      Path folder = freshFolder();
      try {
        for (Map.Entry<String, String> file : sums(root).entrySet()) unpack(root, folder, file.getKey(), file.getValue());
        System.load(folder.resolve(LIBRARY).toString());
      } finally {
        remove(folder); // what is loaded stays loaded
      }
    } catch (IOException e) {
      throw new UnsatisfiedLinkError("hsmux: the native library cannot be unpacked: " + e + hint());
    } catch (UnsatisfiedLinkError e) {
      UnsatisfiedLinkError error = new UnsatisfiedLinkError("hsmux: " + e.getMessage() + hint());
      error.initCause(e);
      throw error;
    }
  }

  private static Path freshFolder() throws IOException {
    var mode = PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));
    String given = System.getProperty(FOLDER_PROPERTY);
    if (given == null || given.isBlank()) return Files.createTempDirectory("hsmux-", mode);
    Path folder = Path.of(given).toAbsolutePath();
    checkFolder(folder);
    return Files.createTempDirectory(folder, "hsmux-", mode);
  }

  private static String hint() {
    return " (where the temporary folder is read-only or mounted noexec, name another one: -D"
        + FOLDER_PROPERTY
        + "=DIR)";
  }

  /** "linux-x86_64": a folder of the jar. */
  private static String platform() {
    String os = System.getProperty("os.name").toLowerCase(Locale.ROOT);
    String arch = System.getProperty("os.arch").toLowerCase(Locale.ROOT);
    if (arch.equals("amd64")) arch = "x86_64";
    return (os.startsWith("linux") ? "linux" : os.replace(' ', '_')) + "-" + arch;
  }

  /** File name to SHA-256 in hex, in the order in which they stand there. */
  private static Map<String, String> sums(String root) throws IOException {
    try (InputStream in = NativeLibrary.class.getResourceAsStream(root + "SHA256SUMS")) {
      if (in == null) {
        throw new UnsatisfiedLinkError("this jar has no native library for " + platform());
      }
      Map<String, String> files = new LinkedHashMap<>();
      for (String line : new String(in.readAllBytes(), StandardCharsets.UTF_8).split("\n")) {
        String[] fields = line.trim().split("\\s+");
        if (fields.length != 2) continue;
        if (!fields[1].matches("[A-Za-z0-9][A-Za-z0-9._-]*")) throw new IOException("bad file name " + fields[1]);
        files.put(fields[1], fields[0]);
      }
      if (!files.containsKey(LIBRARY)) throw new IOException("SHA256SUMS lacks " + LIBRARY);
      return files;
    }
  }

  private static void unpack(String root, Path folder, String name, String sha256) throws IOException {
    byte[] bytes;
    try (InputStream in = NativeLibrary.class.getResourceAsStream(root + name)) {
      if (in == null) throw new IOException("the jar lacks " + name);
      bytes = in.readAllBytes();
    }
    if (!sha256.equals(sha256(bytes))) throw new IOException(name + " in the jar is not the file that was built");
    Path target = folder.resolve(name);
    Files.write(target, bytes, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
    Files.setPosixFilePermissions(target, PosixFilePermissions.fromString("r-x------"));
  }

  private static void checkFolder(Path folder) throws IOException {
    if (!Files.isDirectory(folder)) throw new IOException(FOLDER_PROPERTY + " is not a folder: " + folder);
    Path real = folder.toRealPath();
    checkOwner(real, false);
    // Whoever can rename a folder on the way can put another in its place; in a sticky one only its owner can.
    for (Path part = real.getParent(); part != null; part = part.getParent()) checkOwner(part, true);
  }

  private static void checkOwner(Path path, boolean stickyWillDo) throws IOException {
    int owner = (Integer) Files.getAttribute(path, "unix:uid");
    if (owner != 0 && owner != (Integer) Files.getAttribute(Path.of("/proc/self"), "unix:uid")) {
      throw new IOException(path + " belongs to user " + owner + ", neither to this user nor to root");
    }
    int mode = (Integer) Files.getAttribute(path, "unix:mode");
    boolean sticky = (mode & 01000) != 0;
    if ((mode & 0022) != 0 && !(sticky && stickyWillDo)) {
      throw new IOException(path + " can be written by others: chmod go-w " + path);
    }
  }

  private static String sha256(byte[] bytes) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e); // every JVM has it
    }
  }

  private static void remove(Path folder) throws IOException {
    Files.walkFileTree(
        folder,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
            Files.delete(file);
            return FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult postVisitDirectory(Path directory, IOException failure) throws IOException {
            Files.delete(directory);
            return FileVisitResult.CONTINUE;
          }
        });
  }
}
