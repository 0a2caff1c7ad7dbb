package hsmux;

import java.util.List;

/**
 * A key in one or several slots.
 *
 * @param id lower-case hex of its CKA_ID
 * @param kind "ec-p256", "rsa", "aes-256", or what else the token says
 * @param agrees decrypts by a key agreement (ecies-p256), and then by nothing else
 * @param softwareKey made on the host by this call: for development only
 */
public record KeyInfo(
    String id,
    String label,
    String kind,
    int bits,
    boolean signs,
    boolean decrypts,
    boolean encrypts,
    boolean agrees,
    boolean softwareKey,
    List<String> slots) {}
