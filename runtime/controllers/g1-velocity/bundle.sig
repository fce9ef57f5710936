{
 "key_id": "1786bce77d7029ec",
 "public_key": "f25050e0029e88f7719d8963f9584969c6af2ba0ea48c6f3993ce795207e9772",
 "schema": "exoactor-signature/1",
 "signature": "3237b9579823917620d9f5f1cdb1e3c61db6e58bbf5248c049fa42cb7cbebc41cc2762e23f85dfd34cf8f38dfa106a373bc731c0cfc4ec4f12179fef7a124304"
}
