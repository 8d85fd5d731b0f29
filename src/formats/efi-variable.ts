/** EFI variables as the kernel shows them in `/sys/firmware/efi/efivars`: four bytes of attributes, then the value. */

/** Text in UTF-16 (little endian), as the Boot Loader Interface writes it, up to the first NUL. */
export function efiText(variable: Uint8Array): string {
  let out = "";
  for (let at = 4; at + 1 < variable.length; at += 2) {
    const unit = variable[at]! | (variable[at + 1]! << 8);
    if (unit === 0) break;
    out += String.fromCharCode(unit);
  }
  return out;
}
