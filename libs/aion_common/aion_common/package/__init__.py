"""The package format: `.aion` archives, their manifest, the compiled modules inside, and the version they hash to.

Pure: bytes in, values or `BadPackage` out, whatever the bytes are. Used by the gateway's clients to build archives, by the
catalog to check them and by executors to read them; loading modules into a VM is not done here.
"""
