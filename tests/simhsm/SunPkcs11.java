// The JDK's own PKCS#11 client over a token of the simulator: it generates keys, signs, decrypts and encrypts, and checks each
// result in software. Exits with 0 and a line for each on success. Arguments: module, slot index; the PIN is in SIM_PIN.
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.AuthProvider;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.Provider;
import java.security.PublicKey;
import java.security.SecureRandom;
import java.security.Security;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.X509EncodedKeySpec;
import java.util.Arrays;
import javax.crypto.Cipher;
import javax.crypto.KeyGenerator;
import javax.crypto.SecretKey;
import javax.crypto.spec.GCMParameterSpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.PasswordCallback;

public class SunPkcs11 {
    static final byte[] MESSAGE = "one hundred shares".getBytes(StandardCharsets.UTF_8);

    static PublicKey inSoftware(PublicKey key, String algorithm) throws Exception {
        return KeyFactory.getInstance(algorithm).generatePublic(new X509EncodedKeySpec(key.getEncoded()));
    }

    static void check(boolean right, String what) {
        if (!right) throw new AssertionError(what);
        System.out.println("right: " + what);
    }

    static void sign(Provider token, KeyPair pair, String keys, String algorithm) throws Exception {
        Signature signer = Signature.getInstance(algorithm, token);
        signer.initSign(pair.getPrivate());
        for (byte each : MESSAGE) signer.update(each); // in many parts
        byte[] signature = signer.sign();
        Signature verifier = Signature.getInstance(algorithm);
        verifier.initVerify(inSoftware(pair.getPublic(), keys));
        verifier.update(MESSAGE);
        check(verifier.verify(signature), algorithm);
        Signature inToken = Signature.getInstance(algorithm, token);
        inToken.initVerify(pair.getPublic());
        inToken.update(MESSAGE);
        check(inToken.verify(signature), algorithm + " verified by the token");
    }

    static KeyPair generateEc(Provider token, String curve) throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", token);
        generator.initialize(new ECGenParameterSpec(curve));
        return generator.generateKeyPair();
    }

    public static void main(String[] args) throws Exception {
        Path config = Files.createTempFile("sunpkcs11", ".cfg");
        Files.writeString(config, "name = sim\nlibrary = " + args[0] + "\nslotListIndex = " + args[1] + "\n");
        Provider token = Security.getProvider("SunPKCS11").configure(config.toString());
        Files.delete(config);
        char[] pin = System.getenv("SIM_PIN").toCharArray();
        ((AuthProvider) token).login(null, callbacks -> {
            for (Callback each : callbacks) ((PasswordCallback) each).setPassword(pin);
        });

        sign(token, generateEc(token, "secp256r1"), "EC", "SHA256withECDSA");
        sign(token, generateEc(token, "secp384r1"), "EC", "SHA384withECDSA");
        KeyPairGenerator rsa = KeyPairGenerator.getInstance("RSA", token);
        rsa.initialize(2048);
        KeyPair pair = rsa.generateKeyPair();
        sign(token, pair, "RSA", "SHA256withRSA");

        Cipher encrypt = Cipher.getInstance("RSA/ECB/PKCS1Padding");
        encrypt.init(Cipher.ENCRYPT_MODE, inSoftware(pair.getPublic(), "RSA"));
        Cipher decrypt = Cipher.getInstance("RSA/ECB/PKCS1Padding", token);
        decrypt.init(Cipher.DECRYPT_MODE, pair.getPrivate());
        check(Arrays.equals(decrypt.doFinal(encrypt.doFinal(MESSAGE)), MESSAGE), "RSA decryption");

        KeyGenerator aes = KeyGenerator.getInstance("AES", token);
        aes.init(256);
        SecretKey key = aes.generateKey();
        byte[] iv = new byte[12];
        SecureRandom.getInstance("PKCS11", token).nextBytes(iv);
        Cipher gcm = Cipher.getInstance("AES/GCM/NoPadding", token);
        gcm.init(Cipher.ENCRYPT_MODE, key, new GCMParameterSpec(128, iv));
        gcm.updateAAD(iv);
        byte[] sealed = gcm.doFinal(MESSAGE);
        gcm.init(Cipher.DECRYPT_MODE, key, new GCMParameterSpec(128, iv));
        gcm.updateAAD(iv);
        check(Arrays.equals(gcm.doFinal(sealed), MESSAGE), "AES-GCM");
        Cipher cbc = Cipher.getInstance("AES/CBC/PKCS5Padding", token);
        cbc.init(Cipher.ENCRYPT_MODE, key);
        byte[] chained = cbc.doFinal(MESSAGE);
        byte[] cbcIv = cbc.getIV();
        cbc.init(Cipher.DECRYPT_MODE, key, new javax.crypto.spec.IvParameterSpec(cbcIv));
        check(Arrays.equals(cbc.doFinal(chained), MESSAGE), "AES-CBC");

        KeyStore store = KeyStore.getInstance("PKCS11", token);
        store.load(null, pin);
        check(store.getProvider() == token, "KeyStore");
        ((AuthProvider) token).logout();
    }
}
