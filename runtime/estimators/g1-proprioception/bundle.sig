{
 "key_id": "43b36d425eff4ef8",
 "public_key": "18f66160c31c07c08e89f1a5d249544472dca4f57d6d0d0655044a96b95c7a17",
 "schema": "exoactor-signature/1",
 "signature": "0dbcabc3e17f29a25439022b045eea97de8c26bb360bedd7fbfe2280ec81c7f1deb45cd900dbaad15fbefb86b9ae80911c12a7372a767ef4afbb96d8f8a1db0c"
}
