// Writes ecies.txt: ciphertexts of BouncyCastle's "ECIESwithSHA256andAES-CBC" with the parameters that
// Canton's JcePureCrypto gives it. Run once with bcprov-jdk18on 1.84; the values are fresh at each run:
//   java -cp bcprov-jdk18on-1.84.jar EciesVectors.java > ecies.txt
import java.security.*;
import java.security.spec.*;
import java.util.HexFormat;
import javax.crypto.Cipher;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.jce.spec.IESParameterSpec;

public class EciesVectors {
  static final HexFormat HEX = HexFormat.of();

  public static void main(String[] args) throws Exception {
    Provider bc = new BouncyCastleProvider();
    SecureRandom random = new SecureRandom();
    KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", bc);
    generator.initialize(new ECGenParameterSpec("P-256"), random);
    System.out.println("# ECIESwithSHA256andAES-CBC by " + bc.getInfo() + ", made by EciesVectors.java");
    System.out.println("# key: PKCS#8; ciphertext: the IV, then what BouncyCastle's cipher gave.");
    KeyPair pair = generator.generateKeyPair();
    System.out.println("key = " + HEX.formatHex(pair.getPrivate().getEncoded()));
    for (int size : new int[] {0, 1, 15, 16, 17, 34, 190, 1000}) {
      byte[] plaintext = new byte[size];
      for (int i = 0; i < size; i++) plaintext[i] = (byte) i;
      byte[] iv = new byte[16];
      random.nextBytes(iv);
      Cipher cipher = Cipher.getInstance("ECIESwithSHA256andAES-CBC", bc);
      cipher.init(Cipher.ENCRYPT_MODE, pair.getPublic(),
          new IESParameterSpec(new byte[0], new byte[0], 512, 128, iv), random);
      byte[] sealed = cipher.doFinal(plaintext);
      System.out.println(("plaintext = " + HEX.formatHex(plaintext)).strip());
      System.out.println("ciphertext = " + HEX.formatHex(iv) + HEX.formatHex(sealed));
      System.out.println("result = valid # " + size + " bytes");
    }
  }
}
