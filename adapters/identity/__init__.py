"""Who a gateway is: its credentials, the file that holds them, the broker's files made of them."""
